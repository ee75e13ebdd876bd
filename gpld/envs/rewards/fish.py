"""Fish: stays upright, or swims to a target in three dimensions."""

from .task import Array, Model, Physics, Task, norm, rotate
from .tolerance import tolerance


class Upright(Task):
    """Reward for an upright torso."""

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._torso = model.body("torso").id

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return joint angles, cosine of the torso against the vertical, and velocities."""
        return {
            "joint_angles": physics.qpos[..., 7:],  # after position and quaternion of the root
            "upright": physics.xmat[..., self._torso, 2, 2],
            "velocity": physics.qvel,
        }

    def reward(self, physics: Physics) -> Array:
        """Return a Gaussian of the cosine."""
        return tolerance(physics.xmat[..., self._torso, 2, 2], (1, 1), margin=1)


class Swim(Upright):
    """Reward for the mouth at the target, and a little for being upright."""

    drawn = ("geom_pos",)

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        super().__init__(model)
        self._target, self._mouth = model.geom("target").id, model.geom("mouth").id
        self._reach = float(model.geom("mouth").size[0] + model.geom("target").size[0])

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return the same, and the way from the mouth to the target in the frame of the mouth."""
        observation = super().observe(physics) | {"target": self._to_target(physics)}
        return dict(sorted(observation.items()))

    def reward(self, physics: Physics) -> Array:
        """Return seven eighths of nearness and one of uprightness."""
        near = tolerance(norm(self._to_target(physics)), (0, self._reach), margin=2 * self._reach)
        upright = 0.5 * (physics.xmat[..., self._torso, 2, 2] + 1)
        return (7 * near + upright) / 8

    def _to_target(self, physics: Physics) -> Array:
        geoms = physics.geom_xpos
        to_target = geoms[..., self._target, :] - geoms[..., self._mouth, :]
        return rotate(to_target, physics.geom_xmat[..., self._mouth, :, :])


TASKS = {"fish_upright": Upright, "fish_swim": Swim}
