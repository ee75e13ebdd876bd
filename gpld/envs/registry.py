"""The names of all tasks and how to make them."""

import difflib
import functools
from collections.abc import Callable

from . import probe
from .timestep import Environment


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
