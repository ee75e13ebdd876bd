"""Cheetah: a planar runner with two legs."""

from .task import Array, Model, Physics, sensor_index
from .tolerance import tolerance


class Run:
    """Reward for forward speed, up to 10 m/s."""

    drawn = ()
    reads_forces = False

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._velocity = sensor_index(model, "torso_subtreelinvel")

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return positions but the horizontal one, and velocities."""
        return {"position": physics.qpos[..., 1:], "velocity": physics.qvel}

    def reward(self, physics: Physics) -> Array:
        """Return a number that is linear in the speed of the centre of mass."""
        speed = physics.sensordata[..., self._velocity][..., 0]
        return tolerance(speed, (10, float("inf")), margin=10, sigmoid="linear", value_at_margin=0)


TASKS = {"cheetah_run": Run}
