"""The names of all tasks and how to make one environment of each."""

import difflib
import functools
from collections.abc import Callable
from typing import Literal, get_args

from ..short_names import SHORT_NAMES, canonical_name
from . import probe
from .dmc.drawing import find_backend
from .timestep import Environment

Observations = Literal["vectors", "pixels", "both"]


def task_names() -> tuple[str, ...]:
    """Names of all tasks: those of the DeepMind Control suite, then the probes."""
    from .dmc.env import TASKS  # slow to import, and the probes do without

    return (*sorted(TASKS), *sorted(probe.TASKS))


def env_factory(
    task: str,
    *,
    action_repeat: int = 1,
    observations: Observations = "vectors",
    image_size: int = 64,
) -> Callable[..., Environment]:
    """Checks its arguments and returns what makes the environment from a seed.

    The factory can be pickled, so that a worker process can make the environment. A new
    engine gives its tasks a branch here and their names to `task_names`.

    Args:
        task: One of `task_names()`, or the usual short form `cup_catch`.
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.
        observations: vectors, pixels or both; a probe has its own.
        image_size: Pixels along both sides of a picture, at least 1.

    Returns:
        `factory(seed=...)`, a new environment.

    Raises:
        ValueError: If `task` is unknown or an argument is not allowed with it.
        MachineError: If there are pictures and no OpenGL library can draw them here.
    """
    if action_repeat < 1:
        raise ValueError(f"`action_repeat` must be at least 1, got {action_repeat}.")
    if observations not in get_args(Observations):
        allowed = ", ".join(get_args(Observations))
        raise ValueError(f"`observations` must be one of {allowed}, got {observations!r}.")
    if image_size < 1:
        raise ValueError(f"`image_size` must be at least 1, got {image_size}.")
    if task in probe.TASKS:
        if action_repeat != 1:
            raise ValueError(f"`action_repeat` must be 1 for {task}, got {action_repeat}.")
        if observations != "vectors":
            raise ValueError(
                f"`observations` must be vectors for {task}, which chooses its own, got "
                f"{observations}."
            )
        return probe.TASKS[task]

    from .dmc.env import EPISODE_STEPS, TASKS, DMControl

    if canonical_name(task) in TASKS:
        if action_repeat > EPISODE_STEPS:
            raise ValueError(
                f"`action_repeat` must be at most {EPISODE_STEPS}, the control steps of an "
                f"episode, got {action_repeat}."
            )
        make = functools.partial(
            DMControl, task, action_repeat=action_repeat, observations=observations
        )
        if observations == "vectors":
            return make
        return functools.partial(make, image_size=image_size, backend=find_backend())
    matches = difflib.get_close_matches(task, (*task_names(), *SHORT_NAMES))
    hint = f"did you mean {' or '.join(matches)}? " if matches else ""
    raise ValueError(f"`task` must be a known task, got {task!r}; {hint}`--task list` shows all.")


def make_env(
    task: str,
    *,
    seed: int,
    action_repeat: int = 1,
    observations: Observations = "vectors",
    image_size: int = 64,
) -> Environment:
    """Makes one environment.

    Args:
        task: One of `task_names()`, or the usual short form `cup_catch`.
        seed: Seeds everything that the environment draws, in [0, 2**32).
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.
        observations: vectors, pixels or both; a probe has its own.
        image_size: Pixels along both sides of a picture, at least 1.

    Raises:
        ValueError: If `task` is unknown or an argument is not allowed with it.
        MachineError: If there are pictures and no OpenGL library can draw them here.
    """
    factory = env_factory(
        task, action_repeat=action_repeat, observations=observations, image_size=image_size
    )
    return factory(seed=seed)
