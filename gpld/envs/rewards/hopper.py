"""Hopper: a planar leg that stands or hops."""

from .task import Array, Model, Physics, Task, namespace, sensor_index
from .tolerance import ramp, small_controls, tolerance


class _Hopper(Task):
    reads_forces = True

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._torso, self._foot = model.body("torso").id, model.body("foot").id
        self._velocity = sensor_index(model, "torso_subtreelinvel")
        self._touches = sensor_index(model, "touch_toe", "touch_heel")

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return positions but the horizontal one, logarithms of touches, and velocities."""
        touches = physics.sensordata[..., self._touches]
        return {
            "position": physics.qpos[..., 1:],
            "touch": namespace(touches).log1p(touches),
            "velocity": physics.qvel,
        }

    def _standing(self, physics: Physics) -> Array:
        masses = physics.xipos[..., 2]
        return tolerance(masses[..., self._torso] - masses[..., self._foot], (0.6, 2))


class Stand(_Hopper):
    """Reward for the torso above the foot, with small controls."""

    def reward(self, physics: Physics) -> Array:
        """Return 0 unless it stands."""
        return self._standing(physics) * small_controls(physics.ctrl)


class Hop(_Hopper):
    """Reward for the torso above the foot, and forward speed up to 2 m/s."""

    def reward(self, physics: Physics) -> Array:
        """Return 0 unless it stands; a half at 1 m/s."""
        speed = physics.sensordata[..., self._velocity][..., 0]
        return self._standing(physics) * ramp(speed, 2, margin=1, value_at_margin=0.5)


TASKS = {"hopper_stand": Stand, "hopper_hop": Hop}
