"""Point mass: two motors move a mass in the plane; hard: in directions of each episode."""

import functools

from .task import Array, Model, Physics, Task, norm
from .tolerance import small_controls, tolerance


class PointMass(Task):
    """Reward for the mass at the target, with small controls."""

    def __init__(self, model: Model, *, drawn: tuple[str, ...]):
        """Resolve names in `model`."""
        self.drawn = drawn
        self._target, self._mass = model.geom("target").id, model.geom("pointmass").id
        self._size = float(model.geom("target").size[0])

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return position and velocity."""
        return {"position": physics.qpos, "velocity": physics.qvel}

    def reward(self, physics: Physics) -> Array:
        """Return nearness, times a term of the controls that is at least 4/5."""
        geoms = physics.geom_xpos
        distance = norm(geoms[..., self._target, :] - geoms[..., self._mass, :])
        near = tolerance(distance, (0, self._size), margin=self._size)
        return near * small_controls(physics.ctrl)


TASKS = {
    "point_mass_easy": functools.partial(PointMass, drawn=()),
    "point_mass_hard": functools.partial(PointMass, drawn=("wrap_prm",)),
}
