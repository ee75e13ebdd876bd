"""Cheetah: a planar runner with two legs."""

from .task import Array, Model, Physics, Task, sensor_index
from .tolerance import ramp


class Run(Task):
    """Reward for forward speed, up to 10 m/s."""

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._velocity = sensor_index(model, "torso_subtreelinvel")

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return positions but the horizontal one, and velocities."""
        return {"position": physics.qpos[..., 1:], "velocity": physics.qvel}

    def reward(self, physics: Physics) -> Array:
        """Return a number that is linear in the speed of the centre of mass."""
        speed = physics.sensordata[..., self._velocity][..., 0]
        return ramp(speed, 10, margin=10)


TASKS = {"cheetah_run": Run}
