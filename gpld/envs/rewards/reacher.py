"""Reacher: two links reach for a target in the plane."""

import functools

from .task import Array, Model, Physics, Task, norm
from .tolerance import tolerance


class Reacher(Task):
    """Sparse reward for a finger that touches the target."""

    drawn = ("geom_pos",)

    def __init__(self, model: Model, *, radius: float):
        """Resolve names in `model`; the target has a radius in metres."""
        self._target, self._finger = model.geom("target").id, model.geom("finger").id
        self._reach = radius + float(model.geom("finger").size[0])

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return joint angles, the way to the target, and velocities."""
        return {
            "position": physics.qpos,
            "to_target": self._to_target(physics),
            "velocity": physics.qvel,
        }

    def reward(self, physics: Physics) -> Array:
        """Return 1 where they touch, otherwise 0."""
        return tolerance(norm(self._to_target(physics)), (0, self._reach))

    def _to_target(self, physics: Physics) -> Array:
        geoms = physics.geom_xpos[..., :2]
        return geoms[..., self._target, :] - geoms[..., self._finger, :]


TASKS = {
    "reacher_easy": functools.partial(Reacher, radius=0.05),
    "reacher_hard": functools.partial(Reacher, radius=0.015),
}
