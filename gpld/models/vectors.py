"""Networks between vector observations and the rest of the world model."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .distributions import symlog
from .layers import MLP, Linear, at_least_float32
from .rssm import Latent

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each observation by its name, without batch axes."""


def concat_vectors(
    values: Mapping[str, Shaped[Array, "..."]], keys: tuple[str, ...], dtype: jnp.dtype
) -> Float[Array, " size"]:
    """Flatten the named values of one observation and join them in that order.

    Symlog is taken in float32 before the cast to the compute dtype, because bfloat16
    would round large observations first.
    """
    flat = [symlog(at_least_float32(values[k])).reshape(-1) for k in keys]
    return jnp.concatenate(flat).astype(dtype)


class VectorEncoder(eqx.Module):
    """Symlog, then a chain of hidden layers, over all vectors in sorted order of their names."""

    mlp: MLP
    keys: tuple[str, ...] = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)

    def __init__(
        self,
        shapes: Shapes,
        *,
        units: int,
        num_layers: int,
        dtype: jnp.dtype,
        key: PRNGKeyArray,
    ):
        """Initialise the encoder.

        Args:
            shapes: Shapes of the vectors.
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
        """Embed one observation's vectors."""
        return self.mlp(concat_vectors(observation, self.keys, self.dtype))


class VectorDecoder(eqx.Module):
    """Predictor of every vector in symlog space, from one trunk.

    Its input is `stoch` before `deter`, the reverse of the feature that all heads see;
    this is the order in DreamerV3's code.
    """

    mlp: MLP
    outputs: dict[str, Linear]
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)

    def __init__(
        self,
        shapes: Shapes,
        feat_size: int,
        *,
        units: int,
        num_layers: int,
        key: PRNGKeyArray,
    ):
        """Initialise the decoder.

        Args:
            shapes: Shapes of the vectors.
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
        """Predict each vector in its shape, in symlog space."""
        x = self.mlp(jnp.concatenate([latent.stoch.reshape(-1), latent.deter]))
        return {name: self.outputs[name](x).reshape(s) for name, s in self.shapes}
