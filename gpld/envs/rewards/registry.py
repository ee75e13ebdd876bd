"""Registry of the tasks that are defined here."""

import importlib
from collections.abc import Callable

from .task import Model, Task

_DOMAINS = (  # one module each
    "acrobot", "ball_in_cup", "cartpole", "cheetah", "finger", "fish", "hopper", "humanoid",
    "pendulum", "point_mass", "quadruped", "reacher", "swimmer", "walker",
)  # fmt: skip
_TASKS: dict[str, Callable[[Model], Task]] = {}
for _domain in _DOMAINS:
    _TASKS |= importlib.import_module(f".{_domain}", __package__).TASKS

COVERED = tuple(sorted(_TASKS))
"""Names of the tasks that are defined."""


def make_task(task: str, model: Model) -> Task:
    """Make a task.

    Args:
        task: One of `COVERED`.
        model: The `mujoco.MjModel` of dm_control's task of that name.

    Raises:
        ValueError: If `task` is not covered.
    """
    if task not in _TASKS:
        raise ValueError(f"`task` must be one of {', '.join(COVERED)}; got {task!r}.")
    return _TASKS[task](model)
