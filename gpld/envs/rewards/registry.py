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

_DOMAINS = (
    acrobot, ball_in_cup, cartpole, cheetah, finger, fish, hopper, humanoid, pendulum, point_mass,
    quadruped, reacher, swimmer, walker,
)  # fmt: skip
_TASKS: dict[str, Callable[[Model], Task]] = {
    name: make for domain in _DOMAINS for name, make in domain.TASKS.items()
}

COVERED = tuple(sorted(_TASKS))
"""Names of the tasks that are defined."""


def make_task(name: str, model: Model) -> Task:
    """Make a task.

    Args:
        name: One of `COVERED`.
        model: The `mujoco.MjModel` of dm_control's task of that name.

    Raises:
        ValueError: If `name` is not covered.
    """
    if name not in _TASKS:
        raise ValueError(f"`name` must be one of {', '.join(COVERED)}; got {name!r}.")
    return _TASKS[name](model)
