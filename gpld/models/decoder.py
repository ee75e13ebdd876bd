"""Decoder: latent states back to observations."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .distributions import symlog_mse
from .layers import MLP, Linear
from .rssm import Latent


class Decoder(eqx.Module):
    """Predicts every vector observation in symlog space, from one trunk.

    Its input is `stoch` before `deter`, the reverse of the feature that all other heads
    see; this is the order in DreamerV3's code.
    """

    mlp: MLP
    outputs: dict[str, Linear]
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        feat_size: int,
        *,
        units: int,
        num_layers: int,
        key: PRNGKeyArray,
    ):
        """Initialises the decoder.

        Args:
            shapes: Shape of each observation by its key, without batch axes.
            feat_size: Width of `deter` and flattened `stoch` together.
            units: Width of the hidden layers.
            num_layers: Number of hidden layers.
            key: Random key.
        """
        mlp_key, *out_keys = jr.split(key, 1 + len(shapes))
        self.shapes = tuple(sorted(shapes.items()))
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.outputs = {
            name: Linear(units, math.prod(shape), key=out_key)
            for (name, shape), out_key in zip(self.shapes, out_keys, strict=True)
        }

    def __call__(self, latent: Latent) -> dict[str, Float[Array, "..."]]:
        """Predictions in symlog space, in the shape of each observation."""
        x = self.mlp(jnp.concatenate([latent.stoch.reshape(-1), latent.deter]))
        return {name: self.outputs[name](x).reshape(s) for name, s in self.shapes}

    def losses(
        self, latent: Latent, observation: Mapping[str, Shaped[Array, "..."]]
    ) -> dict[str, Float[Array, ""]]:
        """Squared error of each observation in symlog space, summed over its numbers."""
        return {
            name: jnp.sum(symlog_mse(prediction, observation[name]))
            for name, prediction in self(latent).items()
        }
