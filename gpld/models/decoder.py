"""Decoder: latent states back to observations."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..config import ModelConfig
from .distributions import cross_entropy, symexp, symlog_mse
from .encoder import split_shapes
from .forms import Forms
from .images import ImageDecoder
from .layers import at_least_float32
from .rssm import Latent
from .vectors import NO_CLASSES, NumClasses, Shapes, VectorDecoder


class Decoder(eqx.Module):
    """Predictor of every vector in symlog space, or class, and image with values in [0, 1]."""

    vectors: VectorDecoder | None
    images: ImageDecoder | None
    categorical: frozenset[str] = eqx.field(static=True)
    """Names of observations that are classes."""

    def __init__(
        self,
        shapes: Shapes,
        config: ModelConfig,
        *,
        num_classes: NumClasses = NO_CLASSES,
        forms: Forms = Forms(),  # noqa: B008
        key: PRNGKeyArray,
    ):
        """Initialise the decoders that there are observations for.

        Args:
            shapes: Shape of each observation by its name, without batch axes.
            config: Sizes.
            num_classes: Of those that are categorical.
            forms: Forms of computation.
            key: Random key.
        """
        vectors, images = split_shapes(shapes, num_classes)
        self.categorical = frozenset(num_classes)
        vector_key, image_key = jr.split(key)
        dims, stoch_size = config.dims, config.stoch * config.dims.classes
        self.vectors = self.images = None
        if vectors:
            self.vectors = VectorDecoder(
                vectors,
                dims.deter + stoch_size,
                units=dims.units,
                num_layers=config.decoder_layers,
                num_classes=num_classes,
                key=vector_key,
            )
        if images:
            self.images = ImageDecoder(
                images,
                dims.deter,
                stoch_size,
                units=dims.units,
                channels=config.channels,
                side=config.kernel,
                blocks=config.image_blocks,
                form=forms.blocks,
                key=image_key,
            )

    def __call__(self, latent: Latent) -> dict[str, Float[Array, "..."]]:
        """Predict each observation in its shape; vectors in symlog space, or logits of classes."""
        parts = [part for part in (self.vectors, self.images) if part is not None]
        return {name: value for part in parts for name, value in part(latent).items()}

    def observation(self, latent: Latent) -> dict[str, Shaped[Array, "..."]]:
        """Predict each observation in its own units, the likeliest class, or between 0 and 1."""

        def in_units(name, x):
            if name in self.categorical:
                return jnp.argmax(x, axis=-1).astype(jnp.int32)
            return x if x.ndim == 3 else symexp(x)

        return {name: in_units(name, x) for name, x in self(latent).items()}

    def losses(
        self, latent: Latent, observation: Mapping[str, Shaped[Array, "..."]]
    ) -> dict[str, Float[Array, ""]]:
        """Compute the error of each observation, summed over its numbers.

        It is squared, for a vector in symlog space, for an image between values in [0, 1]; for
        classes it is the cross-entropy in nats.
        """

        def error(name, prediction):
            by_kind = cross_entropy if name in self.categorical else _squared_error
            return jnp.sum(by_kind(prediction, observation[name]))

        return {name: error(name, prediction) for name, prediction in self(latent).items()}


def _squared_error(
    prediction: Float[Array, "*shape"], target: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    if target.ndim < 3:
        return symlog_mse(prediction, target)
    target = jax.lax.stop_gradient(at_least_float32(target) / 255)
    return jnp.square(at_least_float32(prediction) - target)
