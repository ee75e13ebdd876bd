"""Registry of the tasks that are defined here."""

from collections.abc import Callable

from . import (
    acrobot,
    ball_in_cup,
    cartpole,
    cheetah,
    finger,
    fish,
    hopper,
    humanoid,
    pendulum,
    point_mass,
    quadruped,
    reacher,
    swimmer,
    walker,
)
from .task import Model, Task

_TASKS: dict[str, Callable[[Model], Task]] = {
    **acrobot.TASKS, **ball_in_cup.TASKS, **cartpole.TASKS, **cheetah.TASKS, **finger.TASKS,
    **fish.TASKS, **hopper.TASKS, **humanoid.TASKS, **pendulum.TASKS, **point_mass.TASKS,
    **quadruped.TASKS, **reacher.TASKS, **swimmer.TASKS, **walker.TASKS,
}  # fmt: skip

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
