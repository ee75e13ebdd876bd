"""Walk through one environment, as training steps it, with everything written down."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...machine.subprocesses import describe_error
from ..adapters.adapter import Adapter, Foreign, Outcome
from ..adapters.arrays import Announced, find
from ..own import jax_unchanged
from ..timestep import Action, Environment, EnvSpec, TimeStep

# Bytes of observations that a walk may keep.
_MOST_BYTES = 2**28


class Seen(NamedTuple):
    """Reset or step of an environment of others, before its adapter makes it one of ours."""

    arrays: dict[str, np.ndarray]
    """Copies of what was announced and came, by our names."""

    unannounced: list[str]
    """Keys of its observation that its space does not have."""

    outcome: Outcome | None
    """All but the observation; None for a reset."""


class Walk(NamedTuple):
    """Everything that one environment gave, in order, up to an exception if there was one."""

    spec: EnvSpec
    timesteps: list[TimeStep]
    announced: Mapping[str, Announced] | None
    """Arrays as an environment of others announces them; None for one that has our interface."""

    space: Any
    """Space or spec of observations of an environment of others."""

    seen: list[Seen]
    """Resets and steps of an environment of others; several a time step if actions repeat."""

    overwritten: list[str]
    """Observations that changed after they had been returned."""

    error: str | None
    """Exception that ended the walk."""

    raised_by: str | None
    """Method of the environment that raised it; None for one that the adapter has raised."""

    @property
    def elapsed(self) -> list[int]:
        """Steps since the reset, at each time step."""
        elapsed, length = [], 0
        for timestep in self.timesteps:
            elapsed.append(length)
            length = 0 if timestep.is_last.all() else length + 1
        return elapsed

    @property
    def lengths(self) -> list[int]:
        """Steps of each episode that has ended."""
        pairs = zip(self.elapsed, self.timesteps, strict=True)
        return [length for length, timestep in pairs if timestep.is_last.all()]


def take_walk(
    factory: Callable[..., Environment], seed: int, *, num_steps: int, seconds: float
) -> Walk:
    """Step a new environment with random actions, and close it.

    Args:
        factory: Makes it from a keyword argument `seed`.
        seed: Its seed; actions are the same for all.
        num_steps: Resets and steps to take at most.
        seconds: Seconds after the first reset and step in which more are taken.
    """
    env = factory(seed=seed)
    spec, timesteps, recorder = env.spec, [], None
    error = raised_by = None
    watch = _Watch()
    if isinstance(env, Adapter):
        arrays = env.arrays

        def record(foreign: Foreign) -> _Recorder:
            nonlocal recorder
            recorder = _Recorder(foreign, arrays, watch)
            return recorder

        env.wrap(record)
    start, method, num_bytes = 0.0, "reset", 0
    try:
        with jax_unchanged():
            for timestep in advance(env, 0, reset=True):
                if recorder is None:
                    watch.look(timestep.observation)
                timesteps.append(copy(timestep))
                method = "reset" if np.all(timestep.is_last) else "step"
                num_bytes += sum(array.nbytes for array in timesteps[-1].observation.values())
                if len(timesteps) <= 2:  # environments in JAX compile a reset and a step
                    start = time.monotonic()
                late = time.monotonic() - start > seconds
                if len(timesteps) == num_steps or late or num_bytes > _MOST_BYTES:
                    break
    except (Exception, SystemExit) as exception:  # whatever somebody's code raises
        error = describe_error(exception)
        raised_by = method if recorder is None else recorder.raising
    try:
        env.close()
    except (Exception, SystemExit) as exception:
        if error is None:
            error, raised_by = describe_error(exception), "close"
    return Walk(
        spec,
        timesteps,
        None if recorder is None else recorder.arrays,
        None if recorder is None else recorder.space,
        [] if recorder is None else recorder.seen,
        sorted(watch.overwritten),
        error,
        raised_by,
    )


def advance(env: Environment, index: int, *, reset: bool) -> Iterator[TimeStep]:
    """Take steps without end, with a reset after the last of each episode.

    Args:
        env: The environment.
        index: Time steps before, which says what actions are next.
        reset: Whether the first is a reset.

    Raises:
        TypeError: If something else than a time step comes.
    """
    while True:
        timestep = env.reset() if reset else env.step(action_at(env.spec, index))
        if not isinstance(timestep, TimeStep):
            raise TypeError(f"it must return a gpld.envs.TimeStep, got {type(timestep).__name__}")
        yield timestep
        reset, index = bool(np.all(timestep.is_last)), index + 1


def action_at(spec: EnvSpec, index: int) -> Action:
    """Return a random action, which the index settles; some of its numbers are the bounds."""
    rng = np.random.default_rng(index)
    if spec.discrete:
        return np.asarray(rng.integers(spec.action_size), np.int32)
    return np.clip(rng.uniform(-1.2, 1.2, spec.action_size), -1, 1).astype(np.float32)


def copy(timestep: TimeStep) -> TimeStep:
    """Return a time step that shares no memory, and whose scalars are arrays too."""
    observation, *scalars = timestep
    return TimeStep({key: np.array(x) for key, x in observation.items()}, *map(np.array, scalars))


class _Watch:
    """Look at arrays that were returned once more when the next ones are there.

    Attributes:
        overwritten: Names of those that have changed.
    """

    def __init__(self):
        self.overwritten: set[str] = set()
        self._returned: list[tuple[str, np.ndarray, bytes]] = []

    def look(self, arrays: Mapping[str, Any]) -> None:
        """Compare the arrays before, and keep these."""
        for name, array, content in self._returned:
            if array.tobytes() != content:
                self.overwritten.add(name)
        kept = [(name, x) for name, x in arrays.items() if isinstance(x, np.ndarray)]
        self._returned = [(name, x, x.tobytes()) for name, x in kept]


class _Recorder:
    """`Foreign` environment around another, whose resets and steps it writes down.

    Attributes:
        arrays: What is announced.
        seen: What came.
        raising: Method that has raised an exception.
    """

    def __init__(self, env: Foreign, arrays: Mapping[str, Announced], watch: _Watch):
        self._env, self.arrays, self._watch = env, arrays, watch
        self.seen: list[Seen] = []
        self.raising: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, seed: int | None) -> Any:
        with self._raising("reset"):
            observation = self._env.reset(seed)
        self._record(observation, None)
        return observation

    def step(self, action: Any) -> Outcome:
        with self._raising("step"):
            outcome = self._env.step(action)
        self._record(outcome.observation, outcome)
        return outcome

    def frame(self) -> Any:
        with self._raising("render"):
            return self._env.frame()

    @contextlib.contextmanager
    def _raising(self, method: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit):
            self.raising = method
            raise

    def _record(self, observation: Any, outcome: Outcome | None) -> None:
        found = {}
        for name, array in self.arrays.items():
            with contextlib.suppress(ValueError):  # one that is missing
                found[name] = find(observation, array.place)
        self._watch.look(found)
        known = getattr(self.space, "spaces", self.space)
        unannounced = []
        if isinstance(observation, Mapping) and isinstance(known, Mapping):
            unannounced = sorted(str(key) for key in observation.keys() - known.keys())
        arrays = {name: _array(value) for name, value in found.items()}
        outcome = None if outcome is None else outcome._replace(observation=None)
        self.seen.append(Seen(arrays, unannounced, outcome))


def _array(value: Any) -> np.ndarray:
    try:
        return np.array(value)
    except ValueError:  # lists of different lengths
        return np.array(None)
