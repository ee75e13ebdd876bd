"""Cartpole: a cart on a rail balances one or several poles, or swings them up."""

from .task import Array, Model, Physics, Task, namespace
from .tolerance import small_controls, tolerance


class _Cartpole(Task):
    def __init__(self, model: Model):
        """Resolve no names: body 1 is the cart, those after it are poles."""

    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return the position of the cart, cosine and sine of every pole, and velocities."""
        xp = namespace(physics.qpos)
        poles = physics.xmat[..., 2:, ::-2, 2]  # zz, xz
        bounded = poles.reshape(*poles.shape[:-2], 2 * poles.shape[-2])
        return {
            "position": xp.concat([physics.qpos[..., :1], bounded], axis=-1),
            "velocity": physics.qvel,
        }


class Smooth(_Cartpole):
    """Reward for upright poles, less off the centre, with controls and with velocities."""

    def reward(self, physics: Physics) -> Array:
        """Return the product of four terms, the last three of which are at least a half."""
        upright = (physics.xmat[..., 2:, 2, 2] + 1) / 2
        centered = (1 + tolerance(physics.qpos[..., 0], margin=2)) / 2
        velocity = tolerance(physics.qvel[..., 1:], margin=5, entries=True).min(axis=-1)
        small_velocity = (1 + velocity) / 2
        return upright.mean(axis=-1) * small_controls(physics.ctrl) * small_velocity * centered


class Sparse(_Cartpole):
    """Sparse reward for a cart near the centre and poles near the vertical."""

    def reward(self, physics: Physics) -> Array:
        """Return 1 within the bounds, otherwise 0."""
        centered = tolerance(physics.qpos[..., 0], (-0.25, 0.25))
        upright = tolerance(physics.xmat[..., 2:, 2, 2], (0.995, 1))
        return centered * upright.prod(axis=-1)


TASKS = {
    "cartpole_balance": Smooth,
    "cartpole_balance_sparse": Sparse,
    "cartpole_swingup": Smooth,
    "cartpole_swingup_sparse": Sparse,
    "cartpole_three_poles": Smooth,
    "cartpole_two_poles": Smooth,
}
