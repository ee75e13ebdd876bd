"""Hopper: a planar leg that stands or hops."""

from .task import Array, Model, Physics, namespace, sensor_index
from .tolerance import tolerance


class _Hopper:
    drawn = ()
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
        control = tolerance(
            physics.ctrl, margin=1, sigmoid="quadratic", value_at_margin=0, entries=True
        )
        return self._standing(physics) * ((control.mean(axis=-1) + 4) / 5)


class Hop(_Hopper):
    """Reward for the torso above the foot, and forward speed up to 2 m/s."""

    def reward(self, physics: Physics) -> Array:
        """Return 0 unless it stands; a half at 1 m/s."""
        speed = physics.sensordata[..., self._velocity][..., 0]
        hopping = tolerance(
            speed, (2, float("inf")), margin=1, sigmoid="linear", value_at_margin=0.5
        )
        return self._standing(physics) * hopping


TASKS = {"hopper_stand": Stand, "hopper_hop": Hop}
