"""Convolutional layers of DreamerV3, for one image with channels last."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .layers import RMSNorm, silu, truncated_normal_init

Image = Float[Array, "_ _ _"]  # height, width, channels


class Conv(eqx.Module):
    """Square convolution of stride 1, padded with zeros so that the image keeps its size."""

    kernel: Float[Array, "side side inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, side: int, key: PRNGKeyArray):
        """Initialise the kernel, whose fan-in counts all pixels that it sees."""
        self.kernel = truncated_normal_init(key, (side, side, inputs, outputs))
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Image) -> Image:
        """Cross-correlation with the kernel, plus the bias."""
        return convolve(x, self.kernel.astype(x.dtype)) + self.bias.astype(x.dtype)[None, None]

    def upsampled(self, x: Image) -> Image:
        """Compute `self(upsample(x))` at less than half the cost.

        Each pixel of `x` fills four of the upsampled image, so that a kernel of side 5 sees
        three different ones along each axis, and sums of its weights meet them. They differ
        between the first and the second of a pair: two kernels of side 3 along each axis.
        """
        height, width, inputs = x.shape
        kernel = _paired(_paired(self.kernel, 0), 2)
        _, rows, _, columns, _, outputs = kernel.shape
        kernel = kernel.transpose(1, 3, 4, 0, 2, 5).reshape(rows, columns, inputs, 4 * outputs)
        y = convolve(x, kernel.astype(x.dtype)).reshape(height, width, 2, 2, outputs)
        y = y.transpose(0, 2, 1, 3, 4).reshape(2 * height, 2 * width, outputs)
        return y + self.bias.astype(x.dtype)[None, None]

    def pooled(self, x: Image) -> Image:
        """Compute `pool(self(x))`, faster where there are few channels.

        The four pixels that are pooled are computed side by side, from four times as many
        channels: those of 2 x 2 pixels. The kernel has zeros where one of the four sees less.
        """
        height, width, inputs = x.shape
        kernel = _pairs(_pairs(self.kernel, 0), 3)
        _, rows, _, _, columns, _, _, outputs = kernel.shape
        kernel = kernel.transpose(1, 4, 2, 5, 6, 0, 3, 7)
        kernel = kernel.reshape(rows, columns, 4 * inputs, 4 * outputs)
        x = x.reshape(height // 2, 2, width // 2, 2, inputs).transpose(0, 2, 1, 3, 4)
        x = x.reshape(height // 2, width // 2, 4 * inputs)
        y = convolve(x, kernel.astype(x.dtype)).reshape(height // 2, width // 2, 4, outputs)
        return jnp.max(y, axis=2) + self.bias.astype(x.dtype)[None, None]


class ConvHidden(eqx.Module):
    """Hidden layer on images: convolution, RMSNorm over the channels of a pixel, SiLU."""

    conv: Conv
    norm: RMSNorm

    def __init__(self, inputs: int, outputs: int, *, side: int, key: PRNGKeyArray):
        self.conv = Conv(inputs, outputs, side=side, key=key)
        self.norm = RMSNorm(outputs)

    def activate(self, y: Image) -> Image:
        """Normalise and activate the convolution's output: `silu(norm(y))`, pixel by pixel."""
        return silu(jax.vmap(jax.vmap(self.norm))(y))


def convolve(x: Image, kernel: Float[Array, "side side inputs outputs"]) -> Image:
    """Cross-correlation of stride 1, zeros around the image."""
    return jax.lax.conv_general_dilated(
        x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


def pool(x: Image) -> Image:
    """Take the largest of each 2 x 2 pixels; equal ones share the derivative."""
    height, width, channels = x.shape
    return jnp.max(x.reshape(height // 2, 2, width // 2, 2, channels), axis=(1, 3))


def upsample(x: Image) -> Image:
    """Repeat each pixel four times, as 2 x 2 pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)


def _paired(kernel: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Kernels that see pixels where `kernel` sees pairs of equal ones, along one axis.

    That axis becomes two: whether the first or the second of a pair is the centre, and the
    side of these kernels.
    """
    return _pairs(kernel, axis).sum(axis=axis + 2)


def _pairs(kernel: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """A kernel by pairs of pixels, along one axis.

    That axis becomes three: whether the first or the second of a pair is the centre, which
    pair is seen, and which of its two pixels.
    """
    side = kernel.shape[axis]
    reach = side // 2
    seen = (reach + 1) // 2  # pairs on each side of the one in the centre
    phases = []
    for phase in range(2):
        before = 2 * seen + phase - reach  # so that pairs are whole
        after = 2 * (2 * seen + 1) - side - before
        padding = [(0, 0)] * kernel.ndim
        padding[axis] = (before, after)
        pairs = jnp.pad(kernel, padding)
        phases.append(pairs.reshape(*pairs.shape[:axis], 2 * seen + 1, 2, *pairs.shape[axis + 1 :]))
    return jnp.stack(phases, axis=axis)
