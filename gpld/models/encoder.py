"""Encoder: observations to the embedding that the posterior sees."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .distributions import symlog
from .layers import MLP, at_least_float32


def concat_vectors(
    values: Mapping[str, Shaped[Array, "..."]], keys: tuple[str, ...], dtype: jnp.dtype
) -> Float[Array, " size"]:
    """Flattens the named values of one observation and joins them in that order.

    Symlog is taken in float32 before the cast to the compute dtype, because bfloat16
    would round large observations first.
    """
    flat = [symlog(at_least_float32(values[k])).reshape(-1) for k in keys]
    return jnp.concatenate(flat).astype(dtype)


class Encoder(eqx.Module):
    """Symlog, then a chain of hidden layers, over all vector observations.

    Vector observations have at most one axis and enter in sorted key order.
    """

    mlp: MLP
    keys: tuple[str, ...] = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        *,
        units: int,
        num_layers: int,
        dtype: jnp.dtype,
        key: PRNGKeyArray,
    ):
        """Initialises the encoder.

        Args:
            shapes: Shape of each observation by its key, without batch axes.
            units: Width of the hidden layers, and of the embedding.
            num_layers: Number of hidden layers.
            dtype: Compute dtype of the embedding.
            key: Random key.
        """
        self.keys = tuple(sorted(shapes))
        size = sum(math.prod(shape) for shape in shapes.values())
        self.mlp = MLP(size, units, num_layers, key=key)
        self.dtype = jnp.dtype(dtype)

    @property
    def embed_size(self) -> int:
        """Width of the embedding."""
        return self.mlp.layers[-1].norm.scale.shape[-1]

    def __call__(self, observation: Mapping[str, Shaped[Array, "..."]]) -> Float[Array, " embed"]:
        """The embedding of one observation."""
        return self.mlp(concat_vectors(observation, self.keys, self.dtype))
