"""Finger: two links flick a body that turns on a hinge."""

import functools

import numpy as np

from .task import Array, Model, Physics, Task, namespace, norm, sensor_index


class _Finger(Task):
    reads_forces = True

    def __init__(self, model: Model):
        self._joints = sensor_index(model, "proximal", "distal")
        self._velocities = sensor_index(
            model, "proximal_velocity", "distal_velocity", "hinge_velocity"
        )
        self._touches = sensor_index(model, "touchtop", "touchbottom")
        self._tip, self._spinner = (_plane(model, name) for name in ("tip", "spinner"))

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return joints, tip relative to the hinge, velocities, and logarithms of touches."""
        sensors = physics.sensordata
        xp = namespace(sensors)
        position = [sensors[..., self._joints], self._tip_position(physics)]
        return {
            "position": xp.concat(position, axis=-1),
            "touch": xp.log1p(sensors[..., self._touches]),
            "velocity": sensors[..., self._velocities],
        }

    def _tip_position(self, physics: Physics) -> Array:
        sensors = physics.sensordata
        return sensors[..., self._tip] - sensors[..., self._spinner]


class Spin(_Finger):
    """Sparse reward for a body that spins at 15 rad/s or faster."""

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        super().__init__(model)
        self._hinge_velocity = sensor_index(model, "hinge_velocity")

    def reward(self, physics: Physics) -> Array:
        """Return 1 when it spins, otherwise 0."""
        velocity = physics.sensordata[..., self._hinge_velocity][..., 0]
        return (velocity <= -15.0).astype(velocity.dtype)


class Turn(_Finger):
    """Sparse reward for the tip of the body within the target."""

    drawn = ("site_pos",)

    def __init__(self, model: Model, *, radius: float):
        """Resolve names in `model`; the target has a radius in metres."""
        super().__init__(model)
        self._target = _plane(model, "target")
        self._radius = radius

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return the finger, the target relative to the hinge, and the distance to it."""
        observation = super().observe(physics) | {
            "dist_to_target": self._distance(physics),
            "target_position": self._target_position(physics),
        }
        return dict(sorted(observation.items()))

    def reward(self, physics: Physics) -> Array:
        """Return 1 within the target, otherwise 0."""
        distance = self._distance(physics)
        return (distance <= 0).astype(distance.dtype)

    def _target_position(self, physics: Physics) -> Array:
        sensors = physics.sensordata
        return sensors[..., self._target] - sensors[..., self._spinner]

    def _distance(self, physics: Physics) -> Array:
        to_target = self._target_position(physics) - self._tip_position(physics)
        return norm(to_target) - self._radius


def _plane(model: Model, sensor: str) -> np.ndarray:
    """Return the indices of x and z of a sensor of positions."""
    return int(model.sensor(sensor).adr[0]) + np.array([0, 2])


TASKS = {
    "finger_spin": Spin,
    "finger_turn_easy": functools.partial(Turn, radius=0.07),
    "finger_turn_hard": functools.partial(Turn, radius=0.03),
}
