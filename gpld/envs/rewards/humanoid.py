"""Humanoid: 21 driven joints that stand, walk or run in three dimensions."""

import functools

from .task import Array, Model, Physics, Task, namespace, norm, rotate, sensor_index
from .tolerance import ramp, small_controls, tolerance


class Humanoid(Task):
    """Reward for a high head, an upright torso, small controls and, if wanted, speed."""

    def __init__(self, model: Model, *, speed: float):
        """Resolve names in `model`; a speed in m/s in any direction, 0 to stand still."""
        self._torso, self._head = model.body("torso").id, model.body("head").id
        names = ("left_hand", "left_foot", "right_hand", "right_foot")
        self._limbs = [model.body(name).id for name in names]
        self._velocity = sensor_index(model, "torso_subtreelinvel")
        self._speed = speed

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return posture and velocities; hands and feet in the frame of the torso."""
        frame = physics.xmat[..., self._torso, :, :]
        torso = physics.xpos[..., self._torso, :]
        limbs = [rotate(physics.xpos[..., limb, :] - torso, frame) for limb in self._limbs]
        return {
            "com_velocity": physics.sensordata[..., self._velocity],
            "extremities": namespace(frame).concat(limbs, axis=-1),
            "head_height": physics.xpos[..., self._head, 2],
            "joint_angles": physics.qpos[..., 7:],
            "torso_vertical": frame[..., 2, :],
            "velocity": physics.qvel,
        }

    def reward(self, physics: Physics) -> Array:
        """Return the product of all terms; controls count for a fifth."""
        height = physics.xpos[..., self._head, 2]
        standing = tolerance(height, (1.4, float("inf")), margin=1.4 / 4)
        upright = ramp(physics.xmat[..., self._torso, 2, 2], 0.9, margin=1.9)
        controlled = small_controls(physics.ctrl) * (standing * upright)
        velocity = physics.sensordata[..., self._velocity][..., :2]
        if self._speed == 0:
            still = tolerance(velocity, margin=2, entries=True).mean(axis=-1)
            return controlled * still
        move = ramp(norm(velocity), self._speed, margin=self._speed)
        return controlled * ((5 * move + 1) / 6)


class PureState(Humanoid):
    """Reward of `Humanoid`, observed through positions and velocities."""

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return the state of the simulator; the position in the world included."""
        return {"position": physics.qpos, "velocity": physics.qvel}


TASKS = {
    "humanoid_stand": functools.partial(Humanoid, speed=0),
    "humanoid_walk": functools.partial(Humanoid, speed=1),
    "humanoid_run": functools.partial(Humanoid, speed=10),
    "humanoid_run_pure_state": functools.partial(PureState, speed=10),
}
