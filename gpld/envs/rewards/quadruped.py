"""Quadruped: four legs with three driven degrees of freedom each, in three dimensions."""

import functools
from typing import Any

import mujoco
import numpy as np

from .task import Array, Model, Physics, compact, namespace, sensor_index, sensor_index_of_types
from .tolerance import tolerance

_mujoco: Any = mujoco  # compiled, and unknown to pyright


class Move:
    """Reward for an upright torso, times forward speed."""

    drawn = ()
    reads_forces = True

    def __init__(self, model: Model, *, speed: float):
        """Resolve names in `model`; a speed in m/s."""
        joints, sensors = _mujoco.mjtJoint, _mujoco.mjtSensor
        hinges = np.flatnonzero(model.jnt_type == joints.mjJNT_HINGE)
        self._positions = compact(model.jnt_qposadr[hinges].tolist())
        self._velocities = compact(model.jnt_dofadr[hinges].tolist())
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
        joints = [
            physics.qpos[..., self._positions],
            physics.qvel[..., self._velocities],
            physics.act,
        ]
        return {
            "egocentric_state": xp.concat(joints, axis=-1),
            "force_torque": xp.arcsinh(sensors[..., self._force_torque]),
            "imu": sensors[..., self._imu],
            "torso_upright": physics.xmat[..., self._torso, 2, 2],
            "torso_velocity": sensors[..., self._velocity],
        }

    def reward(self, physics: Physics) -> Array:
        """Return the product of both, linear in the cosine and, up to the one wanted, in speed."""
        upright = tolerance(
            physics.xmat[..., self._torso, 2, 2],
            (1, float("inf")),
            margin=2,
            sigmoid="linear",
            value_at_margin=0,
        )
        move = tolerance(
            physics.sensordata[..., self._velocity][..., 0],
            (self._speed, float("inf")),
            margin=self._speed,
            sigmoid="linear",
            value_at_margin=0.5,
        )
        return upright * move


TASKS = {
    "quadruped_walk": functools.partial(Move, speed=0.5),
    "quadruped_run": functools.partial(Move, speed=5),
}
