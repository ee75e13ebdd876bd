"""Encoder: observations to the embedding that the posterior sees."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..config import ModelConfig
from .forms import Forms
from .images import ImageEncoder
from .vectors import NO_CLASSES, NumClasses, Shapes, VectorEncoder


class Encoder(eqx.Module):
    """Encoder of vectors and images: their embeddings, one behind the other."""

    vectors: VectorEncoder | None
    images: ImageEncoder | None
    in_chunks: bool = eqx.field(static=True)
    """True if there are images, and they are encoded and predicted a few at a time."""

    def __init__(
        self,
        shapes: Shapes,
        config: ModelConfig,
        *,
        dtype: jnp.dtype,
        num_classes: NumClasses = NO_CLASSES,
        forms: Forms = Forms(),  # noqa: B008
        key: PRNGKeyArray,
    ):
        """Initialise the encoders that there are observations for.

        Args:
            shapes: Shape of each observation by its name, without batch axes.
            config: Sizes.
            dtype: Compute dtype of the embedding.
            num_classes: Of those that are categorical.
            forms: Forms of computation.
            key: Random key.
        """
        vectors, images = split_shapes(shapes, num_classes)
        vector_key, image_key = jr.split(key)
        self.vectors = self.images = None
        self.in_chunks = forms.in_chunks and bool(images)
        if vectors:
            self.vectors = VectorEncoder(
                vectors,
                units=config.dims.units,
                num_layers=config.encoder_layers,
                dtype=dtype,
                num_classes=num_classes,
                key=vector_key,
            )
        if images:
            self.images = ImageEncoder(
                images,
                channels=config.channels,
                side=config.kernel,
                dtype=dtype,
                key=image_key,
            )

    @property
    def embed_size(self) -> int:
        """Width of the embedding."""
        return sum(part.embed_size for part in self._parts())

    def __call__(self, observation: Mapping[str, Shaped[Array, "..."]]) -> Float[Array, " embed"]:
        """Embed one observation."""
        return jnp.concatenate([part(observation) for part in self._parts()])

    def _parts(self) -> list[VectorEncoder | ImageEncoder]:
        return [part for part in (self.vectors, self.images) if part is not None]


def split_shapes(shapes: Shapes, num_classes: NumClasses = NO_CLASSES) -> tuple[Shapes, Shapes]:
    """Split into vectors, which have up to two axes, and images, which have three.

    Categorical observations are vectors, however many axes they have.

    Raises:
        ValueError: If an observation has more axes, or there is none.
    """
    if not shapes:
        raise ValueError("`shapes` must name at least one observation.")
    for name, shape in shapes.items():
        if len(shape) > 3 and name not in num_classes:
            raise ValueError(f"Observations must have at most 3 axes, {name} has {shape}.")
    images = {
        name: shape for name, shape in shapes.items() if len(shape) == 3 and name not in num_classes
    }
    vectors = {name: shape for name, shape in shapes.items() if name not in images}
    return vectors, images
