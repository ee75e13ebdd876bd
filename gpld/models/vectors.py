"""Networks between vector observations and the rest of the world model."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .distributions import symlog
from .layers import MLP, Linear, at_least_float32
from .rssm import Latent

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each observation by its name, without batch axes."""

NumClasses = Mapping[str, int]
"""Number of classes of each categorical observation, which is made of integers, by its name."""

NO_CLASSES: NumClasses = MappingProxyType({})
"""No observation is categorical."""


def concat_vectors(
    values: Mapping[str, Shaped[Array, "..."]],
    keys: Mapping[str, int | None],
    dtype: jnp.dtype,
) -> Float[Array, " size"]:
    """Flatten the named values of one observation and join them in that order.

    Integers of a categorical observation become one-hot vectors. Symlog of all others is taken
    in float32 before the cast to the compute dtype, because bfloat16 would round large
    observations first.

    Args:
        values: Observation by name.
        keys: Names, with the number of classes of those that are categorical.
        dtype: Compute dtype.
    """

    def number(value, classes):
        if classes is None:
            return symlog(at_least_float32(value))
        return jax.nn.one_hot(value, classes, dtype=jnp.float32)

    flat = [number(values[name], classes).reshape(-1) for name, classes in keys.items()]
    return jnp.concatenate(flat).astype(dtype)


class VectorEncoder(eqx.Module):
    """Symlog, then a chain of hidden layers, over all vectors in sorted order of their names.

    Those that are categorical are one-hot vectors, without symlog.
    """

    mlp: MLP
    keys: tuple[tuple[str, int | None], ...] = eqx.field(static=True)
    """Names, with the number of classes of those that are categorical."""

    dtype: jnp.dtype = eqx.field(static=True)

    def __init__(
        self,
        shapes: Shapes,
        *,
        units: int,
        num_layers: int,
        dtype: jnp.dtype,
        num_classes: NumClasses = NO_CLASSES,
        key: PRNGKeyArray,
    ):
        """Initialise the encoder.

        Args:
            shapes: Shapes of the vectors.
            units: Width of the hidden layers, and of the embedding.
            num_layers: Number of hidden layers.
            dtype: Compute dtype of the embedding.
            num_classes: Of those that are categorical.
            key: Random key.
        """
        self.keys = tuple((name, num_classes.get(name)) for name in sorted(shapes))
        size = sum(math.prod(shapes[name]) * (classes or 1) for name, classes in self.keys)
        self.mlp = MLP(size, units, num_layers, key=key)
        self.dtype = jnp.dtype(dtype)

    @property
    def embed_size(self) -> int:
        """Width of the embedding."""
        return self.mlp.layers[-1].norm.scale.shape[-1]

    def __call__(self, observation: Mapping[str, Shaped[Array, "..."]]) -> Float[Array, " embed"]:
        """Embed one observation's vectors."""
        return self.mlp(concat_vectors(observation, dict(self.keys), self.dtype))


class VectorDecoder(eqx.Module):
    """Predictor of every vector from one trunk: numbers in symlog space, and logits of classes.

    Its input is `stoch` before `deter`, the reverse of the feature that all heads see;
    this is the order in DreamerV3's code.
    """

    mlp: MLP
    outputs: dict[str, Linear]
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    """Shapes of the predictions: those of the vectors, and an axis more for logits."""

    def __init__(
        self,
        shapes: Shapes,
        feat_size: int,
        *,
        units: int,
        num_layers: int,
        num_classes: NumClasses = NO_CLASSES,
        key: PRNGKeyArray,
    ):
        """Initialise the decoder.

        Args:
            shapes: Shapes of the vectors.
            feat_size: Width of `deter` and flattened `stoch` together.
            units: Width of the hidden layers.
            num_layers: Number of hidden layers.
            num_classes: Of those that are categorical.
            key: Random key.
        """
        logits = {name: (*shapes[name], n) for name, n in num_classes.items()}
        mlp_key, *out_keys = jr.split(key, 1 + len(shapes))
        self.shapes = tuple(sorted({**shapes, **logits}.items()))
        self.mlp = MLP(feat_size, units, num_layers, key=mlp_key)
        self.outputs = {
            name: Linear(units, math.prod(shape), key=out_key)
            for (name, shape), out_key in zip(self.shapes, out_keys, strict=True)
        }

    def __call__(self, latent: Latent) -> dict[str, Float[Array, "..."]]:
        """Predict each vector in its shape: in symlog space, or logits along a last axis."""
        x = self.mlp(jnp.concatenate([latent.stoch.reshape(-1), latent.deter]))
        return {name: self.outputs[name](x).reshape(s) for name, s in self.shapes}
