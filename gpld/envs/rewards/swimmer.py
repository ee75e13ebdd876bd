"""Swimmer: a chain of links swims in the plane, nose to the target."""

import numpy as np

from .task import Array, Model, Physics, Task, norm, rotate
from .tolerance import tolerance

_PLANE = np.array([0, 1, 5])  # of a link: linear x and y, angular z


class Swimmer(Task):
    """Reward for the nose at the target."""

    drawn = ("geom_pos", "light_pos")

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._target, self._nose = model.geom("target").id, model.geom("nose").id
        self._head = model.body("head").id
        self._size = float(model.geom("target").size[0])

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return velocities of links in their own frames, joint angles, the way to the target."""
        # The first 12 values are of the head's centre; linear and angular ones alternate.
        links = physics.sensordata[..., 12:]
        links = links.reshape(*links.shape[:-1], links.shape[-1] // 6, 6)[..., _PLANE]
        return {
            "body_velocities": links.reshape(*links.shape[:-2], 3 * links.shape[-2]),
            "joints": physics.qpos[..., 3:],
            "to_target": self._to_target(physics),
        }

    def reward(self, physics: Physics) -> Array:
        """Return 1 within the target, a tenth at five times its radius from its surface."""
        distance = norm(self._to_target(physics))
        return tolerance(distance, (0, self._size), margin=5 * self._size, sigmoid="long_tail")

    def _to_target(self, physics: Physics) -> Array:
        geoms = physics.geom_xpos
        to_target = geoms[..., self._target, :] - geoms[..., self._nose, :]
        return rotate(to_target, physics.xmat[..., self._head, :, :])[..., :2]


TASKS = {"swimmer_swimmer6": Swimmer, "swimmer_swimmer15": Swimmer}
