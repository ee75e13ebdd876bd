"""Networks between images and the rest of the world model."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .blocks import BlockLinear
from .chunks import keep
from .convolutions import Conv, ConvHidden, Image, pool
from .forms import BlockForm
from .layers import Hidden, Linear, RMSNorm, silu
from .rssm import Latent
from .vectors import Shapes


class ImageEncoder(eqx.Module):
    """Convolutions, each of which halves the images, over all of them side by side.

    Images are joined along their channels, in sorted order of their names. Each layer pools
    before it normalises.
    """

    layers: tuple[ConvHidden, ...]
    keys: tuple[str, ...] = eqx.field(static=True)
    embed_size: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)

    def __init__(
        self,
        shapes: Shapes,
        *,
        channels: Sequence[int],
        side: int,
        dtype: jnp.dtype,
        key: PRNGKeyArray,
    ):
        """Initialise the encoder.

        Args:
            shapes: Shapes of the images, `(height, width, channels)`, equal but for channels.
            channels: Channels after each layer.
            side: Side of the kernels.
            dtype: Compute dtype of the embedding.
            key: Random key.

        Raises:
            ValueError: If the images have different sizes, or one that cannot be halved as
                often as there are layers.
        """
        height, width, seen = _joined(shapes, halvings=len(channels))
        sizes = [seen, *channels]
        keys = jr.split(key, len(channels))
        self.layers = tuple(
            ConvHidden(i, o, side=side, key=k)
            for i, o, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.keys = tuple(sorted(shapes))
        self.embed_size = (height * width >> 2 * len(channels)) * channels[-1]
        self.dtype = jnp.dtype(dtype)

    def __call__(self, observation: Mapping[str, Shaped[Array, "..."]]) -> Float[Array, " embed"]:
        """Embed one observation's images, flattened by rows, columns, channels."""
        images = jnp.concatenate([observation[k] for k in self.keys], axis=-1)
        x = images.astype(self.dtype) / 255 - 0.5
        # The first result is the largest, and costs least: its kernel sees few channels.
        first, *others = self.layers
        x = first.activate(first.conv.pooled(x))
        for layer in others:
            x = layer.activate(pool(keep(layer.conv(x))))
        return x.reshape(-1)


class ImageDecoder(eqx.Module):
    """Predictor of every image, from a small one that is enlarged step by step.

    The small image is the sum of two: `deter` enters by blocks, each of which draws its own
    channels, and `stoch` through a hidden layer.
    """

    deter_in: BlockLinear
    stoch_in: Hidden
    stoch_out: Linear
    norm: RMSNorm
    layers: tuple[ConvHidden, ...]
    out: Conv
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)

    def __init__(
        self,
        shapes: Shapes,
        deter: int,
        stoch_size: int,
        *,
        units: int,
        channels: Sequence[int],
        side: int,
        blocks: int,
        form: BlockForm = "batched",
        key: PRNGKeyArray,
    ):
        """Initialise the decoder.

        Args:
            shapes: Shapes of the images, `(height, width, channels)`, equal but for channels.
            deter: Width of `deter`.
            stoch_size: Width of flattened `stoch`.
            units: Half the width of the hidden layer on `stoch`.
            channels: Channels of the encoder's layers, which are taken in reverse order.
            side: Side of the kernels.
            blocks: Blocks of `deter`.
            form: How products of the blocks are taken.
            key: Random key.

        Raises:
            ValueError: If the images have different sizes, or one that cannot be halved as
                often as there are layers, or if `blocks` does not divide the width of `deter`
                and the channels of the small image.
        """
        height, width, drawn = _joined(shapes, halvings=len(channels))
        *others, last = channels
        for name, size in (("`model.deter`", deter), ("`model.depth` times its last factor", last)):
            if size % blocks:
                raise ValueError(
                    f"{name} must be a multiple of `model.image_blocks` ({blocks}), got {size}."
                )
        small = height * width >> 2 * len(channels)
        deter_key, in_key, out_key, image_key, *keys = jr.split(key, 4 + len(others))
        width, outputs = deter // blocks, small * last // blocks
        self.deter_in = BlockLinear(blocks, width, outputs, form=form, key=deter_key)
        self.stoch_in = Hidden(stoch_size, 2 * units, key=in_key)
        self.stoch_out = Linear(2 * units, small * last, key=out_key)
        self.norm = RMSNorm(last)
        sizes = [last, *reversed(others)]
        self.layers = tuple(
            ConvHidden(i, o, side=side, key=k)
            for i, o, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.out = Conv(sizes[-1], drawn, side=side, key=image_key)
        self.shapes = tuple(sorted(shapes.items()))

    def __call__(self, latent: Latent) -> dict[str, Float[Array, "height width _"]]:
        """Predict each image in its shape, with values in [0, 1]."""
        x = jax.nn.sigmoid(keep(self.out.upsampled(self._enlarged(latent))))
        ends = np.cumsum([shape[-1] for _, shape in self.shapes])[:-1]
        images = jnp.split(x, ends, axis=-1)
        return {name: image for (name, _), image in zip(self.shapes, images, strict=True)}

    def _enlarged(self, latent: Latent) -> Image:
        """The image that is half as large as those predicted."""
        x = silu(jax.vmap(jax.vmap(self.norm))(self._small(latent)))
        for layer in self.layers:
            x = layer.activate(keep(layer.conv.upsampled(x)))
        return x

    def _small(self, latent: Latent) -> Image:
        """The small image, before it is normalised."""
        (height, width, _), halvings = self.shapes[0][1], len(self.layers) + 1
        height, width = height >> halvings, width >> halvings
        channels = self.norm.scale.size
        blocks = self.deter_in.kernel.shape[0]
        own = latent.deter.reshape(blocks, -1)
        # Blocks are the leading part of the channels.
        drawn = jnp.stack([*self.deter_in(own)]).reshape(blocks, height, width, -1)
        drawn = drawn.transpose(1, 2, 0, 3).reshape(height, width, channels)
        stoch = self.stoch_out(self.stoch_in(latent.stoch.reshape(-1)))
        return drawn + stoch.reshape(height, width, channels)


def _joined(shapes: Shapes, *, halvings: int) -> tuple[int, int, int]:
    """Return height, width and channels of all images side by side."""
    sizes = {shape[:2] for shape in shapes.values()}
    if len(sizes) != 1:
        raise ValueError(f"Images must be equally large, got {dict(shapes)}.")
    ((height, width),) = sizes
    if height % 2**halvings or width % 2**halvings:
        raise ValueError(
            f"Images must have sides that are multiples of {2**halvings}, got {height} x {width}."
        )
    return height, width, sum(shape[2] for shape in shapes.values())
