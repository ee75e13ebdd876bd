"""Names of all tasks, and environments of each: one, many, or as pure functions.

What an environment needs is imported when it is made: MuJoCo and JAX take long to import, and
worker processes do without.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack, get_args

import numpy as np

from ..errors import UsageError
from ..suite import EPISODE_STEPS, TASKS, canonical_name
from . import probe
from .backend import Backend, Implementation, check_implementation, choose_backend
from .dmc.opengl import find_backend
from .lookup import or_similar
from .own import in_workers, is_own, own_factory, registered_names
from .timestep import Environment
from .vector.group import EnvGroup, Group
from .vector.local import LocalGroup
from .vector.vector import VectorEnv
from .vector.worker import Worker

if TYPE_CHECKING:
    import gpld.envs.functional.auto_reset

Observations = Literal["vectors", "pixels", "both"]


class EnvOptions(TypedDict, total=False):
    """Options of an environment; `CompleteOptions` has their defaults."""

    action_repeat: int
    """Control steps per environment step, at least 1; 1 for a probe."""

    observations: Observations
    """A probe has its own."""

    image_size: int | None
    """Pixels along both sides of a picture, at least 1; None is 64, or what an environment of
    one's own gives."""

    episode_steps: int | None
    """Env steps after which an episode of an environment of one's own is truncated."""

    kwargs: Mapping[str, Any]
    """Arguments of the constructor of an environment of one's own."""


class CompleteOptions(NamedTuple):
    """`EnvOptions`, with the defaults of those that are not given."""

    action_repeat: int = 1
    observations: Observations = "vectors"
    image_size: int | None = None
    episode_steps: int | None = None
    kwargs: Mapping[str, Any] = MappingProxyType({})


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks: the DeepMind Control suite, probes, what was registered."""
    return (*sorted(TASKS), *sorted(probe.TASKS), *registered_names())


def env_factory(task: str, **options: Unpack[EnvOptions]) -> Callable[..., Environment]:
    """Check the arguments and return a function that makes the environment from a seed.

    The factory can be pickled, so that a worker process can make the environment. A new
    engine gives its tasks a branch here and their names to `task_names`.

    Args:
        task: One of `task_names()`, the usual short form `cup_catch`, or the name of an environment
            of one's own.
        **options: See `EnvOptions`.

    Returns:
        `factory(seed=...)`, a new environment.

    Raises:
        ValueError: If `task` is unknown or an argument is not allowed with it.
        MachineError: If there are pictures and no OpenGL library can draw them here.
    """
    task, given = canonical_name(task), CompleteOptions(**options)
    for name in ("action_repeat", "image_size", "episode_steps"):
        if (number := getattr(given, name)) is not None and number < 1:
            raise ValueError(f"`{name}` must be at least 1, got {number}.")
    if given.observations not in get_args(Observations):
        allowed = ", ".join(get_args(Observations))
        raise ValueError(f"`observations` must be one of {allowed}, got {given.observations!r}.")
    if is_own(task):
        return own_factory(task, **given._asdict())
    if task in probe.TASKS or task in TASKS:
        for name, only in (("episode_steps", None), ("kwargs", {})):
            if (value := getattr(given, name)) != only:
                raise ValueError(f"`{name}` must be {only} for {task}, got {value}.")
    if task in probe.TASKS:
        if given.action_repeat != 1:
            raise ValueError(f"`action_repeat` must be 1 for {task}, got {given.action_repeat}.")
        if given.observations != "vectors":
            raise ValueError(
                f"`observations` must be vectors for {task}, which chooses its own, got "
                f"{given.observations}."
            )
        return probe.TASKS[task]

    if task in TASKS:
        from .dmc.env import DMControl

        if given.action_repeat > EPISODE_STEPS:
            raise ValueError(
                f"`action_repeat` must be at most {EPISODE_STEPS}, the control steps of an "
                f"episode, got {given.action_repeat}."
            )
        repeat, observations = given.action_repeat, given.observations
        make = functools.partial(DMControl, task, action_repeat=repeat, observations=observations)
        if observations == "vectors":
            return make
        return functools.partial(make, image_size=given.image_size or 64, backend=find_backend())
    hint = or_similar(task, registered_names()) or ";"
    raise ValueError(
        f"`task` must be a known task, got {task!r}{hint} `--task list` shows all but those that "
        "`gpld.register` names in another process."
    )


def make_env(task: str, *, seed: int, **options: Unpack[EnvOptions]) -> Environment:
    """Make one environment.

    Args:
        task: One of `task_names()`, or the usual short form `cup_catch`.
        seed: Seeds everything that the environment draws, in [0, 2**32).
        **options: See `EnvOptions`.

    Raises:
        ValueError: If `task` is unknown or an argument is not allowed with it.
        MachineError: If there are pictures and no OpenGL library can draw them here.
    """
    return env_factory(task, **options)(seed=seed)


def make_vector_env(
    task: str,
    *,
    num_envs: int,
    seed: int,
    backend: Backend = "auto",
    mjx_impl: Implementation = "jax",
    stagger: bool = False,
    workers: int = 0,
    timeout: float = 300.0,
    max_restarts: int = 0,
    replace_workers: bool = True,
    **options: Unpack[EnvOptions],
) -> VectorEnv:
    """Make environments with different seeds.

    Neither the number of workers nor a choice between dmc and batch changes a result. With mjx,
    everything that is drawn follows from `seed`, and results differ by rounding.

    Args:
        task: One of `task_names()`, or the usual short form `cup_catch`.
        num_envs: Number of environments, at least 1.
        seed: At least 0; environment i is seeded from the pair of `seed` and i.
        backend: The engine: dmc, batch, mjx, or what `choose_backend` takes for auto.
        mjx_impl: Which of MJX's implementations simulates; of no account elsewhere.
        stagger: With mjx, whether the first episode of each environment ends early, after a
            random number of steps.
        workers: Processes that share the environments, one per environment at most; 0
            steps them in this process, where an exception of theirs is raised as it is
            and nothing can be restarted, except for environments of one's own: one that raises is
            made anew as one in a worker is. With batch: threads of this process, at least one.
        timeout: Seconds, positive, in which a worker must answer; it fails otherwise.
        max_restarts: How many failures are allowed in all, at least 0: workers that are
            replaced, and episodes that are truncated because a number is not finite. The
            environments of a worker that replaces another at the n-th of them are seeded from
            `seed`, i and n.
        replace_workers: Whether workers that fail are replaced; otherwise the first of them is the
            last.
        **options: See `EnvOptions`.

    Raises:
        ValueError: If an argument is out of range, `task` is unknown, or `backend` cannot
            step it.
        MachineError: If there are pictures and no OpenGL library can draw them here.
        WorkerError: If a worker could not make its environments.
    """
    if num_envs < 1:
        raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
    for name, number in (("seed", seed), ("workers", workers), ("max_restarts", max_restarts)):
        if number < 0:
            raise ValueError(f"`{name}` must be at least 0, got {number}.")
    check_implementation("mjx_impl", mjx_impl)
    if not timeout > 0:
        raise ValueError(f"`timeout` must be positive, got {timeout}.")
    factory = env_factory(task, **options)
    task, given = canonical_name(task), CompleteOptions(**options)
    engine = choose_backend(task, backend, given.observations)
    replace = None
    if engine == "mjx":
        from .vector.jax_group import FunctionalGroup

        envs = make_functional_env(
            task, num_envs=num_envs, impl=mjx_impl, stagger=stagger, **options
        )
        groups = [FunctionalGroup(envs, seed=env_seed(seed))]
    elif engine == "batch":
        from .vector.batch import BatchGroup

        seeds, threads = [env_seed(seed, i) for i in range(num_envs)], max(workers, 1)
        groups = [BatchGroup(task, seeds, action_repeat=given.action_repeat, threads=threads)]
    else:
        if not in_workers(task):
            workers = 0
        groups, replace = _python_groups(task, factory, num_envs, seed, workers, timeout)
    return VectorEnv(
        groups,
        task=task,
        max_failures=max_restarts,
        replace=replace,
        replace_failed=workers == 0 or replace_workers,
    )


def _python_groups(
    task: str,
    factory: Callable[..., Environment],
    num_envs: int,
    seed: int,
    workers: int,
    timeout: float,
) -> tuple[Sequence[Group], Callable[..., Group] | None]:
    """Make environments that Python steps one after the other, here or in workers.

    Returns:
        The groups; and what makes another in place of one, given its index and numbers that its
        seeds follow from as well. None where a failure would be one of ours.
    """
    if workers == 0 and not is_own(task):
        return [EnvGroup([factory(seed=env_seed(seed, i)) for i in range(num_envs)])], None
    if workers == 0:
        # What fails here fails again, so that others may take its place in any case.
        def make(index: int, *restart: int) -> Group:
            own = env_seed(seed, index, *restart)
            return LocalGroup(factory, own, name=f"Environment {index} of {task}")

        return [make(index) for index in range(num_envs)], make
    shares = np.array_split(np.arange(num_envs), min(workers, num_envs))

    def start(index: int, *restart: int) -> Group:
        share = shares[index].tolist()
        which = f"s {share[0]} to {share[-1]}" if len(share) > 1 else f" {share[0]}"
        seeds = [env_seed(seed, i, *restart) for i in share]
        return Worker(
            factory, seeds, name=f"Worker of environment{which} of {task}", timeout=timeout
        )

    return [start(index) for index in range(len(shares))], start


def env_seed(*entropy: int) -> int:
    """Return the seed of one environment of a vector environment.

    Args:
        *entropy: Seed of the vector environment, index of the environment, number of the restart,
            number of the step after which it was made anew.
    """
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def make_functional_env(
    task: str,
    *,
    num_envs: int,
    impl: Implementation = "jax",
    stagger: bool = False,
    num_copies: int = 1,
    **options: Unpack[EnvOptions],
) -> "gpld.envs.functional.auto_reset.AutoReset":
    """Make environments that programs can hold.

    Args:
        task: A task of the suite that MJX can simulate, one of some probes, or the name of an
            environment of one's own in JAX.
        num_envs: Number of environments, at least 1.
        impl: Which implementation of MJX takes the steps; of no account for a probe or an
            environment of one's own.
        stagger: Whether the first episode of each environment ends early, after a random
            number of steps.
        num_copies: For how many agents a program maps them.
        **options: See `EnvOptions`.

    Raises:
        UsageError: If an environment of one's own is no function in JAX.
        ValueError: If there is no such task, or an argument is not allowed with it.
        MachineError: If the implementation does not work here.
    """
    from .functional.auto_reset import AutoReset

    factory = env_factory(task, **options)  # checks them
    choose_backend(task, "mjx", CompleteOptions(**options).observations)
    if task in probe.TASKS:
        from .functional import probe as functional_probe

        env = functional_probe.TASKS[task]()
    elif is_own(task):
        from .adapters.functional_env import SteppedEnv

        made = factory(seed=0)
        if not isinstance(made, SteppedEnv):
            made.close()
            raise UsageError(f"`env.backend` must be auto or dmc for {task}: it is not in JAX.")
        env = made.functional
    else:
        from .mjx import MJXEnv

        action_repeat = CompleteOptions(**options).action_repeat
        env = MJXEnv(task, action_repeat=action_repeat, impl=impl, max_envs=num_envs * num_copies)
    return AutoReset(env, num_envs, stagger=stagger)
