"""Acrobot: two links, of which the elbow is driven, swing up to a target above them."""

import functools

from .task import Array, Model, Physics, Task, compact, namespace, norm
from .tolerance import tolerance


class Acrobot(Task):
    """Reward for the tip at the target; sparse: within its radius, or nothing."""

    def __init__(self, model: Model, *, sparse: bool):
        """Resolve names in `model`."""
        self._arms = compact([model.body(name).id for name in ("upper_arm", "lower_arm")])
        self._target, self._tip = model.site("target").id, model.site("tip").id
        self._radius = float(model.site("target").size[0])
        self._margin = 0.0 if sparse else 1.0

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return sines, then cosines, of both arms against the vertical, and velocities."""
        arms = physics.xmat[..., 2][..., self._arms, :]
        return {
            "orientations": namespace(arms).concat([arms[..., 0], arms[..., 2]], axis=-1),
            "velocity": physics.qvel,
        }

    def reward(self, physics: Physics) -> Array:
        """Return the nearness of tip and target."""
        sites = physics.site_xpos
        distance = norm(sites[..., self._target, :] - sites[..., self._tip, :])
        return tolerance(distance, (0.0, self._radius), margin=self._margin)


TASKS = {
    "acrobot_swingup": functools.partial(Acrobot, sparse=False),
    "acrobot_swingup_sparse": functools.partial(Acrobot, sparse=True),
}
