"""Decoder: latent states back to observations."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..config import ModelConfig
from .distributions import symlog_mse
from .encoder import split_shapes
from .forms import Forms
from .images import ImageDecoder
from .layers import at_least_float32
from .rssm import Latent
from .vectors import Shapes, VectorDecoder


class Decoder(eqx.Module):
    """Predictor of every vector in symlog space, and every image with values in [0, 1]."""

    vectors: VectorDecoder | None
    images: ImageDecoder | None

    def __init__(
        self,
        shapes: Shapes,
        config: ModelConfig,
        *,
        forms: Forms = Forms(),  # noqa: B008
        key: PRNGKeyArray,
    ):
        """Initialise the decoders that there are observations for.

        Args:
            shapes: Shape of each observation by its name, without batch axes.
            config: Sizes.
            forms: Forms of computation.
            key: Random key.
        """
        vectors, images = split_shapes(shapes)
        vector_key, image_key = jr.split(key)
        dims, stoch_size = config.dims, config.stoch * config.dims.classes
        self.vectors = self.images = None
        if vectors:
            self.vectors = VectorDecoder(
                vectors,
                dims.deter + stoch_size,
                units=dims.units,
                num_layers=config.decoder_layers,
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
        """Predict each observation in its shape; vectors in symlog space."""
        parts = [part for part in (self.vectors, self.images) if part is not None]
        return {name: value for part in parts for name, value in part(latent).items()}

    def losses(
        self, latent: Latent, observation: Mapping[str, Shaped[Array, "..."]]
    ) -> dict[str, Float[Array, ""]]:
        """Compute the squared error of each observation, summed over its numbers.

        That of a vector is taken in symlog space, that of an image between values in [0, 1].
        """
        return {
            name: jnp.sum(_squared_error(prediction, observation[name]))
            for name, prediction in self(latent).items()
        }


def _squared_error(
    prediction: Float[Array, "*shape"], target: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    if target.ndim < 3:
        return symlog_mse(prediction, target)
    target = jax.lax.stop_gradient(at_least_float32(target) / 255)
    return jnp.square(at_least_float32(prediction) - target)
