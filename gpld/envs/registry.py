"""The names of all tasks and how to make them."""

import difflib
import functools
from collections.abc import Callable

import numpy as np

from . import probe
from .group import EnvGroup
from .restarts import Restarts
from .timestep import Environment
from .vector import VectorEnv
from .worker import Worker


def task_names() -> tuple[str, ...]:
    """Names of all tasks: those of the DeepMind Control suite, then the probes."""
    from . import dmc  # slow to import, and the probes do without

    return (*sorted(dmc.TASKS), *sorted(probe.TASKS))


def env_factory(task: str, *, action_repeat: int = 1) -> Callable[..., Environment]:
    """Checks its arguments and returns what makes the environment from a seed.

    The factory can be pickled, so that a worker process can make the environment. A new
    engine gives its tasks a branch here and their names to `task_names`.

    Args:
        task: One of `task_names()`, or the usual short form `cup_catch`.
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.

    Returns:
        `factory(seed=...)`, a new environment.

    Raises:
        ValueError: If `task` is unknown or does not allow `action_repeat`.
    """
    if action_repeat < 1:
        raise ValueError(f"`action_repeat` must be at least 1, got {action_repeat}.")
    if task in probe.TASKS:
        if action_repeat != 1:
            raise ValueError(f"`action_repeat` must be 1 for {task}, got {action_repeat}.")
        return probe.TASKS[task]

    from . import dmc

    if task in dmc.TASKS or task in dmc.ALIASES:
        return functools.partial(dmc.DMControl, task, action_repeat=action_repeat)
    matches = difflib.get_close_matches(task, (*task_names(), *dmc.ALIASES))
    hint = f"did you mean {' or '.join(matches)}? " if matches else ""
    raise ValueError(f"`task` must be a known task, got {task!r}; {hint}`--task list` shows all.")


def make_env(task: str, *, seed: int, action_repeat: int = 1) -> Environment:
    """Makes one environment.

    Args:
        task: One of `task_names()`, or the usual short form `cup_catch`.
        seed: Seeds everything that the environment draws, in [0, 2**32).
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.

    Raises:
        ValueError: If `task` is unknown or does not allow `action_repeat`.
    """
    return env_factory(task, action_repeat=action_repeat)(seed=seed)


def make_vector_env(
    task: str,
    *,
    num_envs: int,
    seed: int,
    action_repeat: int = 1,
    workers: int = 0,
    timeout: float = 300.0,
    max_restarts: int = 0,
) -> VectorEnv:
    """Makes environments with different seeds; the number of workers changes no result.

    Args:
        task: One of `task_names()`.
        num_envs: Number of environments, at least 1.
        seed: At least 0; environment i is seeded from the pair of `seed` and i.
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.
        workers: Processes that share the environments, one per environment at most; 0
            steps them in this process, where an exception of theirs is raised as it is
            and nothing can be restarted.
        timeout: Seconds, positive, in which a worker must answer; it fails otherwise.
        max_restarts: How many workers may be replaced in all because they failed, at
            least 0. The environments of the n-th are seeded from `seed`, i and n.

    Raises:
        ValueError: If an argument is out of range or `task` is unknown.
        WorkerError: If a worker could not make its environments.
    """
    if num_envs < 1:
        raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    if workers < 0:
        raise ValueError(f"`workers` must be at least 0, got {workers}.")
    if not timeout > 0:
        raise ValueError(f"`timeout` must be positive, got {timeout}.")
    if max_restarts < 0:
        raise ValueError(f"`max_restarts` must be at least 0, got {max_restarts}.")
    factory = env_factory(task, action_repeat=action_repeat)
    if workers == 0:
        return VectorEnv([EnvGroup([factory(seed=env_seed(seed, i)) for i in range(num_envs)])])
    shares = np.array_split(np.arange(num_envs), min(workers, num_envs))

    def start(index: int, *restart: int) -> Worker:
        share = shares[index].tolist()
        return Worker(
            factory,
            [env_seed(seed, i, *restart) for i in share],
            name=f"Worker of environments {share[0]} to {share[-1]} of {task}",
            timeout=timeout,
        )

    return VectorEnv([start(index) for index in range(len(shares))], Restarts(start, max_restarts))


def env_seed(*entropy: int) -> int:
    """Seed of one environment of a vector environment: of its seed, the index, the restart."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
