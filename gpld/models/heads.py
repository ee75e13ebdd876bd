"""Heads on the model feature: reward, continue, policy and value."""

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .distributions import Binary, BoundedNormal, SymexpTwoHot
from .layers import MLP, Linear


class TwoHotHead(eqx.Module):
    """Predicts a scalar as a symexp two-hot distribution (reward and value).

    The output layer starts at zero, so that the first predictions are exactly zero.
    """

    mlp: MLP
    out: Linear

    def __init__(
        self,
        feat_size: int,
        *,
        units: int,
        num_layers: int,
        num_bins: int = 255,
        key: PRNGKeyArray,
    ):
        mlp_key, out_key = jr.split(key)
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.out = Linear(units, num_bins, scale=0.0, key=out_key)

    def __call__(self, feat: Float[Array, " feat"]) -> SymexpTwoHot:
        """The distribution of the scalar at one state."""
        return SymexpTwoHot(self.out(self.mlp(feat)))


class ContinueHead(eqx.Module):
    """Predicts the discount of the next step: gamma, or 0 after a terminal state."""

    mlp: MLP
    out: Linear

    def __init__(self, feat_size: int, *, units: int, num_layers: int, key: PRNGKeyArray):
        mlp_key, out_key = jr.split(key)
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.out = Linear(units, 1, key=out_key)

    def __call__(self, feat: Float[Array, " feat"]) -> Binary:
        """The distribution of the continue flag at one state."""
        return Binary(self.out(self.mlp(feat))[0])


class PolicyHead(eqx.Module):
    """Policy over continuous actions, close to mean 0 and std 0.89 at the start."""

    mlp: MLP
    mean: Linear
    std: Linear

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        units: int,
        num_layers: int,
        key: PRNGKeyArray,
    ):
        mlp_key, mean_key, std_key = jr.split(key, 3)
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.mean = Linear(units, action_size, scale=0.01, key=mean_key)
        self.std = Linear(units, action_size, scale=0.01, key=std_key)

    def __call__(self, feat: Float[Array, " feat"]) -> BoundedNormal:
        """The distribution of the action at one state."""
        x = self.mlp(feat)
        return BoundedNormal(self.mean(x), self.std(x))
