"""Pendulum: one link, too heavy for its motor to lift it at once."""

import numpy as np

from .task import Array, Model, Physics, Task
from .tolerance import tolerance


class SwingUp(Task):
    """Sparse reward for a pole within 8 degrees of the vertical."""

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._pole = model.body("pole").id
        self._bound = float(np.cos(np.deg2rad(8)))

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return cosine and sine against the vertical, and the velocity."""
        return {"orientation": physics.xmat[..., self._pole, ::-2, 2], "velocity": physics.qvel}

    def reward(self, physics: Physics) -> Array:
        """Return 1 within the bound, otherwise 0."""
        return tolerance(physics.xmat[..., self._pole, 2, 2], (self._bound, 1))


TASKS = {"pendulum_swingup": SwingUp}
