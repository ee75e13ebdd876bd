"""Heads on the model feature: reward, continue, policy and value."""

import abc
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from .distributions import Binary, BoundedNormal, Categorical, SymexpTwoHot
from .layers import MLP, Linear, recalled, shared_input, split

NUM_BINS = 255
"""Bins of the distributions of rewards and values."""


class Head(eqx.Module):
    """A chain of hidden layers on the model feature, and a distribution made of its output."""

    mlp: eqx.AbstractVar[MLP]

    def __call__(self, feat: Float[Array, " feat"]) -> Any:
        """The distribution at one state."""
        return self.output(self.mlp(feat))

    @abc.abstractmethod
    def output(self, x: Float[Array, " units"]) -> Any:
        """The distribution that the last hidden layer stands for."""


def first_layers(heads: Sequence[Head], feat: Float[Array, " feat"]) -> Float[Array, " units"]:
    """Apply the affine maps of the heads' first layers to one state, one behind the other."""
    return shared_input(_first_linears(heads), feat)


def apply_heads(
    heads: Sequence[Head],
    feat: Shaped[Array, " feat"],
    *,
    first: Float[Array, " units"] | None = None,
) -> tuple[Any, ...]:
    """Apply several heads to one state, with their first layers in one product.

    Args:
        heads: Heads on the same feature.
        feat: Model feature.
        first: `first_layers(heads, feat)`, where it was kept. It is not computed again then,
            and no derivative passes to the feature.
    """
    linears = _first_linears(heads)
    y = shared_input(linears, feat) if first is None else recalled(linears, feat, first)
    parts = split(linears, y)
    return tuple(head.output(head.mlp.trunk(y)) for head, y in zip(heads, parts, strict=True))


def _first_linears(heads: Sequence[Head]) -> list[Linear]:
    return [head.mlp.layers[0].linear for head in heads]


class TwoHotHead(Head):
    """Head that predicts a scalar as a symexp two-hot distribution (reward and value).

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
        key: PRNGKeyArray,
    ):
        mlp_key, out_key = jr.split(key)
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.out = Linear(units, NUM_BINS, scale=0.0, key=out_key)

    def output(self, x: Float[Array, " units"]) -> SymexpTwoHot:
        """The distribution of the scalar."""
        return SymexpTwoHot(self.out(x))


class ContinueHead(Head):
    """Head that predicts the discount of the next step: gamma, or 0 after a terminal state."""

    mlp: MLP
    out: Linear

    def __init__(self, feat_size: int, *, units: int, num_layers: int, key: PRNGKeyArray):
        mlp_key, out_key = jr.split(key)
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.out = Linear(units, 1, key=out_key)

    def output(self, x: Float[Array, " units"]) -> Binary:
        """The distribution of the continue flag."""
        return Binary(self.out(x)[0])


class PolicyHead(Head):
    """Policy: a distribution over actions, and the form in which the RSSM takes them.

    Nothing else depends on what an action is.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Width of an encoded action."""

    @abc.abstractmethod
    def zero(self) -> Shaped[Array, "..."]:
        """The action where there is none, before the first and after the last of an episode.

        It means nothing: encoded actions are masked where an episode begins.
        """

    @abc.abstractmethod
    def encode(self, action: Shaped[Array, "..."]) -> Float[Array, "*batch action"]:
        """Encode actions, with any batch axes, for the RSSM."""

    @abc.abstractmethod
    def metrics(self, entropy: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        """Name the mean entropy of the policy, and what follows from it."""


class ContinuousPolicy(PolicyHead):
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

    def output(self, x: Float[Array, " units"]) -> BoundedNormal:
        """The distribution of the action."""
        return BoundedNormal(self.mean(x), self.std(x))

    @property
    def size(self) -> int:
        """Number of entries of an action."""
        return self.mean.bias.shape[-1]

    def zero(self) -> Float[Array, " action"]:
        """Zeros."""
        return jnp.zeros(self.size, jnp.float32)

    def encode(self, action: Float[Array, "*batch action"]) -> Float[Array, "*batch action"]:
        """Return the actions, unclipped."""
        return action

    def metrics(self, entropy: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        """Name the differential entropy."""
        return {"ent/action": entropy}


class DiscretePolicy(PolicyHead):
    """Policy over some actions, of which one is taken; close to uniform at the start."""

    mlp: MLP
    logits: Linear

    def __init__(
        self,
        feat_size: int,
        num_actions: int,
        *,
        units: int,
        num_layers: int,
        key: PRNGKeyArray,
    ):
        mlp_key, logits_key = jr.split(key)
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.logits = Linear(units, num_actions, scale=0.01, key=logits_key)

    def output(self, x: Float[Array, " units"]) -> Categorical:
        """The distribution of the action's number."""
        return Categorical(self.logits(x))

    @property
    def size(self) -> int:
        """Number of actions that there are."""
        return self.logits.bias.shape[-1]

    def zero(self) -> Int[Array, ""]:
        """The number of the first action."""
        return jnp.zeros((), jnp.int32)

    def encode(self, action: Int[Array, "*batch"]) -> Float[Array, "*batch action"]:
        """Return a one-hot vector for each number."""
        return jax.nn.one_hot(action, self.size, dtype=jnp.float32)

    def metrics(self, entropy: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        """Name the entropy, and its ratio to that of a uniform policy."""
        most = math.log(max(self.size, 2))  # 0 of 0 nats, where there is only one action
        return {"ent/action": entropy, "rand/action": entropy / most}
