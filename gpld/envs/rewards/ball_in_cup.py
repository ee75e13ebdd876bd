"""Ball in cup: a cup swings and catches the ball that hangs from it."""

from .task import Array, Model, Physics, Task


class Catch(Task):
    """Sparse reward for the ball in the cup."""

    def __init__(self, model: Model):
        """Resolve names in `model`."""
        self._target, self._ball = model.site("target").id, model.body("ball").id
        size = model.site("target").size[[0, 2]] - model.geom("ball").size[0]
        self._width, self._depth = size.tolist()

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return positions and velocities of cup and ball."""
        return {"position": physics.qpos, "velocity": physics.qvel}

    def reward(self, physics: Physics) -> Array:
        """Return 1 in the cup, otherwise 0."""
        distance = abs(physics.site_xpos[..., self._target, :] - physics.xpos[..., self._ball, :])
        caught = (distance[..., 0] < self._width) & (distance[..., 2] < self._depth)
        return caught.astype(distance.dtype)


TASKS = {"ball_in_cup_catch": Catch}
