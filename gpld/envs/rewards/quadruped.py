"""Quadruped: four legs with three driven degrees of freedom each, in three dimensions."""

import functools
from typing import Any

import mujoco

from .task import Array, Model, Physics, Task, namespace, sensor_index, sensor_index_of_types
from .tolerance import ramp

_mujoco: Any = mujoco  # compiled, and unknown to pyright


class Move(Task):
    """Reward for an upright torso, times forward speed."""

    reads_forces = True

    def __init__(self, model: Model, *, speed: float):
        """Resolve names in `model`; a speed in m/s."""
        sensors = _mujoco.mjtSensor
        self._torso = model.body("torso").id
        self._velocity = sensor_index(model, "velocimeter")
        self._imu = sensor_index_of_types(model, sensors.mjSENS_GYRO, sensors.mjSENS_ACCELEROMETER)
        self._force_torque = sensor_index_of_types(
            model, sensors.mjSENS_FORCE, sensors.mjSENS_TORQUE
        )
        self._speed = speed

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return what the robot can feel, without position and heading in the world."""
        sensors = physics.sensordata
        xp = namespace(sensors)
        # After the root's free joint: 3 + 4 positions, 6 velocities.
        joints = [physics.qpos[..., 7:], physics.qvel[..., 6:], physics.act]
        return {
            "egocentric_state": xp.concat(joints, axis=-1),
            "force_torque": xp.arcsinh(sensors[..., self._force_torque]),
            "imu": sensors[..., self._imu],
            "torso_upright": physics.xmat[..., self._torso, 2, 2],
            "torso_velocity": sensors[..., self._velocity],
        }

    def reward(self, physics: Physics) -> Array:
        """Return the product of both, linear in the cosine and, up to the one wanted, in speed."""
        upright = ramp(physics.xmat[..., self._torso, 2, 2], 1, margin=2)
        speed = physics.sensordata[..., self._velocity][..., 0]
        return upright * ramp(speed, self._speed, margin=self._speed, value_at_margin=0.5)


TASKS = {
    "quadruped_walk": functools.partial(Move, speed=0.5),
    "quadruped_run": functools.partial(Move, speed=5),
}
