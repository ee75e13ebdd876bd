"""Walker: two planar legs that stand, walk or run."""

import functools

from .task import Array, Model, Physics, Task, sensor_index
from .tolerance import ramp, tolerance


class Walker(Task):
    """Reward for a high and upright torso, and forward speed if wanted."""

    def __init__(self, model: Model, *, speed: float):
        """Resolve names in `model`; a speed in m/s, 0 to stand."""
        self._torso = model.body("torso").id
        self._velocity = sensor_index(model, "torso_subtreelinvel")
        self._speed = speed

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return height, orientations of all bodies in the plane, and velocities."""
        bodies = physics.xmat[..., 1:, 0, ::2]
        return {
            "height": physics.xpos[..., self._torso, 2],
            "orientations": bodies.reshape(*bodies.shape[:-2], 2 * bodies.shape[-2]),
            "velocity": physics.qvel,
        }

    def reward(self, physics: Physics) -> Array:
        """Return the term of standing, times one of the speed, if wanted, of 7/12 at half of it."""
        height = physics.xpos[..., self._torso, 2]
        standing = tolerance(height, (1.2, float("inf")), margin=1.2 / 2)
        upright = (1 + physics.xmat[..., self._torso, 2, 2]) / 2
        stand = (3 * standing + upright) / 4
        if self._speed == 0:
            return stand
        speed = physics.sensordata[..., self._velocity][..., 0]
        move = ramp(speed, self._speed, margin=self._speed / 2, value_at_margin=0.5)
        return stand * (5 * move + 1) / 6


TASKS = {
    "walker_stand": functools.partial(Walker, speed=0),
    "walker_walk": functools.partial(Walker, speed=1),
    "walker_run": functools.partial(Walker, speed=8),
}
