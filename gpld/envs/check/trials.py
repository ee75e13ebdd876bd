"""Rules for which more environments are made: seeds, states, worker processes."""

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ...errors import UsageError
from ...machine.subprocesses import describe_error
from ..adapters.adapter import as_stored, check_state
from ..own import in_workers
from ..registry import make_vector_env
from ..timestep import ANEW, Environment, TimeStep
from ..vector.vector import VectorEnv
from .finding import Finding, broken, hint, ok
from .walk import Walk, action_at, advance, copy, take_walk

# Time steps that are taken again for a comparison, and after a state.
_NUM_AGAIN = 500
_NUM_AFTER = 100

# Seconds in which each speed is measured.
_SECONDS = 0.5
_NUM_WORKERS = 2


class Trial(NamedTuple):
    """Environments to make, and a walk through the first of them."""

    task: str
    options: Mapping[str, Any]
    factory: Callable[..., Environment]
    seed: int
    walk: Walk


def check_determinism(trial: Trial) -> Finding:
    """The same seed and the same actions give the same time steps."""
    again = _walk_again(trial, trial.seed)
    where = first_difference(trial.walk.timesteps, again.timesteps)
    if again.error is not None:
        where = f"what they raise: the second {again.error}"
    if where is not None:
        return broken(
            f"two made with seed {trial.seed} differ in {where}; draw only from what "
            "`reset(seed=)` or an argument `seed` of its function has seeded"
        )
    return ok(
        f"two made with seed {trial.seed} are the same for {len(again.timesteps):,} time steps"
    )


def check_seed(trial: Trial) -> Finding:
    """Another seed gives other episodes, if they are random."""
    other = _walk_again(trial, trial.seed + 1).timesteps
    if (where := first_difference(trial.walk.timesteps, other)) is not None:
        return ok(f"another seed differs in {where}")
    begun = [step.observation for step in trial.walk.timesteps if step.is_first]
    if len(begun) == 1:  # its episodes are long
        begun = _begin_twice(trial)
    if any(not _same(begun[0], observation) for observation in begun[1:]):
        return hint(
            "episodes are random, but the same with another seed: all environments would see the "
            "same ones; use the seed of `reset(seed=)`, or take an argument `seed`"
        )
    return ok("another seed gives the same; nothing random was seen")


def check_state_restored(trial: Trial) -> Finding:
    """A state continues an episode bit for bit, in another environment."""
    walk = trial.walk
    if not walk.spec.resumable:
        return hint(
            "it has none, so that episodes under way begin anew at a resume; `get_state` and "
            "`set_state` let them go on"
        )
    return _restore(trial, at=max(1, min(walk.lengths, default=40) // 2))


def check_state_kept(factory: Callable[..., Environment], seed: int) -> Finding:
    """A state is one that files can hold, and that the environment takes back."""
    env = factory(seed=seed)
    try:
        env.reset()
        state = env.get_state()
        if isinstance(fault := state.get(ANEW), str):
            return broken(fault)
        check_state(state)
        env.set_state(as_stored(state))
    except UsageError as error:
        return broken(str(error))
    except Exception as error:
        return broken(f"it raised {describe_error(error)}")
    finally:
        env.close()
    return ok("files can hold it, and it is taken back")


def check_workers(trial: Trial) -> Finding:
    """A fresh process can make it; says how fast it is there and here."""
    here = _speed(trial, 0)
    if not in_workers(trial.task):
        return hint(
            f"{here:,.0f} steps a second in this process, the only one that can make it; put its "
            "function into a module or file that others can import"
        )
    there = _speed(trial, _NUM_WORKERS)
    return ok(
        f"{here:,.0f} steps a second in this process, {there:,.0f} in {_NUM_WORKERS} worker "
        "processes"
    )


TRIALS: dict[str, Callable[[Trial], Finding]] = {
    "determinism": check_determinism,
    "seed": check_seed,
    "state": check_state_restored,
    "workers": check_workers,
}


def first_difference(one: list[TimeStep], other: list[TimeStep]) -> str | None:
    """Return where two walks, of which one may be shorter, differ in a bit; None if nowhere."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        (seen, *scalars), (others, *other_scalars) = a, b
        for name in seen:
            if not _equal(seen[name], others.get(name)):
                return f"observation {name!r} at step {i}"
        for name, x, y in zip(TimeStep._fields[1:], scalars, other_scalars, strict=True):
            if not _equal(x, y):
                return f"`{name}` at step {i}"
    return None


def _walk_again(trial: Trial, seed: int) -> Walk:
    num_steps = min(len(trial.walk.timesteps), _NUM_AGAIN)
    return take_walk(trial.factory, seed, num_steps=num_steps, seconds=5.0)


def _begin_twice(trial: Trial) -> list[dict[str, np.ndarray]]:
    env = trial.factory(seed=trial.seed)
    try:
        return [copy(env.reset()).observation for _ in range(2)]
    finally:
        env.close()


def _restore(trial: Trial, *, at: int) -> Finding:
    env = trial.factory(seed=trial.seed)
    try:
        before = [copy(step) for step in islice(advance(env, 0, reset=True), at + 1)]
        due, index = bool(before[-1].is_last), len(before)
        state = env.get_state()
        if isinstance(fault := state.get(ANEW), str):
            return broken(fault)
        if ANEW in state:
            return broken("`spec.resumable` is True, but a state says that it begins anew")
        check_state(state)
        stored = pickle.dumps(state)
        after = _continue(env, index, due)
        if pickle.dumps(state) != stored:
            return broken("a state changes while its environment goes on; return copies in it")
        if where := first_difference(trial.walk.timesteps[index:], after):
            return broken(f"taking a state changes what follows: {where} after it")
    finally:
        env.close()
    other = trial.factory(seed=trial.seed)
    try:
        other.set_state(as_stored(pickle.loads(stored)))
        restored = _continue(other, index, due)
    finally:
        other.close()
    if where := first_difference(after, restored):
        return broken(
            f"an episode does not go on as it did: {where} after the state; let it hold all that "
            "changes, random generators too; tuples come back as lists, NumPy's numbers as Python's"
        )
    return ok(f"bit for bit for {len(after):,} time steps after a state at step {at}")


def _continue(env: Environment, index: int, due: bool) -> list[TimeStep]:
    return [copy(step) for step in islice(advance(env, index, reset=due), _NUM_AFTER)]


def _speed(trial: Trial, workers: int) -> float:
    """Return the steps a second of as many environments as there are processes."""
    num_envs = max(1, workers)
    options = {"num_envs": num_envs, "seed": trial.seed, "workers": workers, "backend": "dmc"}
    with make_vector_env(trial.task, **options, **trial.options) as envs:
        for _ in range(2):  # what is in JAX is compiled in a reset and a step
            envs.step(envs.no_action())
        start, steps = time.perf_counter(), 0
        for action in _actions(envs):
            envs.step(action)
            steps += num_envs
            if (seconds := time.perf_counter() - start) > _SECONDS:
                return steps / seconds
    raise AssertionError  # actions never end


def _actions(envs: VectorEnv) -> Iterator[np.ndarray]:
    actions = [np.stack([action_at(envs.spec, i)] * envs.num_envs) for i in range(100)]
    while True:
        yield from actions


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return all(_equal(one[name], other.get(name)) for name in one)


def _equal(one: np.ndarray, other: np.ndarray | None) -> bool:
    """Return whether two arrays have the same bits."""
    if other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return one.tobytes() == other.tobytes()
