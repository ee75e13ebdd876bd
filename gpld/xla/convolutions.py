"""Convolutions in the forms that XLA has fast programs for on CPUs.

In float32 that is the one order of axes with channels last. XLA brings convolutions into that order
itself, but not those in the bodies of loops: the derivative by a kernel takes ten times as long
there.

With factors in bfloat16 it is products of matrices: XLA has fast programs for those on processors
with tiles (AMX), and none for such convolutions. What a kernel sees of an image around each pixel
becomes a row of a matrix; images are taken a few at a time, so that these rows, of which there are
many times as many numbers as in the images, stay in the cache.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jax.extend.core.primitives import conv_general_dilated_p
from jaxtyping import Array, BFloat16, Float32

from .rewrite import bind, rewritten

# Images, height, width, channels; height, width, inputs, outputs.
_IMAGES, _KERNEL = (0, 3, 1, 2), (3, 2, 0, 1)

# Bytes of the rows that are made at a time: half of the second cache of a core.
_CACHE = 2**20

Images = Float32[Array, "image height width channels"]


def channels_last(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Put the channels of images and kernels of all convolutions along the last axes.

    To be applied outside of differentiation. Results are the same.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.

    Returns:
        A function of the same signature and result types.
    """
    return rewritten(fn, _convolution)


def conv_as_products(x: Array, kernel: Array, params: dict[str, Any]) -> Array | None:
    """Take a convolution as products of matrices; None if it is not of a kind known here.

    Known are convolutions of stride 1 with a small kernel, and their derivatives by images and
    kernel, which are convolutions as well.

    Args:
        x: Images, in any order of axes.
        kernel: Kernel, in any order of axes.
        params: Parameters of `conv_general_dilated`.
    """
    ones = (*params["window_strides"], *params["lhs_dilation"], *params["rhs_dilation"])
    groups = (params["feature_group_count"], params["batch_group_count"])
    if x.ndim != 4 or set((*ones, *groups)) != {1}:
        return None
    x, kernel = _transposed(x, kernel, params["dimension_numbers"])
    padding = [(0, 0), *params["padding"], (0, 0)]
    if min(low for pair in padding for low in pair) < 0:
        return None
    x = jnp.pad(x.astype(jnp.bfloat16), padding)
    kernel = kernel.astype(jnp.bfloat16)
    sides = [a - b + 1 for a, b in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    if math.prod(kernel.shape[:2]) <= math.prod(sides):
        y = _images(x, kernel)
    else:
        y = _kernel(x, kernel)
    return _restored(y, params["dimension_numbers"])


def _convolution(equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
    params = equation.params
    if equation.primitive is not conv_general_dilated_p or inputs[0].ndim != 4:
        return None
    numbers = params["dimension_numbers"]
    if tuple(numbers) == (_IMAGES, _KERNEL, _IMAGES):
        return None
    x, kernel = inputs
    x, kernel = _transposed(x, kernel, numbers)
    own = jax.lax.ConvDimensionNumbers(_IMAGES, _KERNEL, _IMAGES)
    equation = equation.replace(params={**params, "dimension_numbers": own})
    return [_restored(bind(equation, (x, kernel))[0], numbers)]


def _transposed(x: Array, kernel: Array, dimension_numbers: Any) -> tuple[Array, Array]:
    """Bring images and kernel of a convolution from any order of axes to channels last."""
    x_spec, kernel_spec, _ = dimension_numbers
    x = jnp.transpose(x, (x_spec[0], *x_spec[2:], x_spec[1]))
    return x, jnp.transpose(kernel, (*kernel_spec[2:], kernel_spec[1], kernel_spec[0]))


def _restored(y: Array, dimension_numbers: Any) -> Array:
    """Bring a result with channels last into the order of axes that was asked for."""
    out_spec = dimension_numbers[2]
    order = (out_spec[0], *out_spec[2:], out_spec[1])
    return jnp.transpose(y, [order.index(axis) for axis in range(4)])


def _images(
    x: BFloat16[Array, "image _ _ inputs"], kernel: BFloat16[Array, "side side inputs outputs"]
) -> Images:
    """Convolve padded images with a small kernel."""
    side = kernel.shape[:2]
    weights = kernel.reshape(-1, kernel.shape[-1])

    def some(x):
        rows, shape = _rows(x, side)
        return product(rows, weights).reshape(*shape, -1)

    chunks = _chunks(x, math.prod(side))
    return jax.lax.map(some, chunks).reshape(x.shape[0], *_sides(x, side), -1)


def _kernel(
    x: BFloat16[Array, "inputs _ _ image"], y: BFloat16[Array, "_ _ image outputs"]
) -> Float32[Array, "inputs _ _ outputs"]:
    """Take the derivative by a small kernel: padded images with cotangents as large as images."""
    x, y = x.transpose(3, 1, 2, 0), y.transpose(2, 0, 1, 3)
    side = (x.shape[1] - y.shape[1] + 1, x.shape[2] - y.shape[2] + 1)
    outputs, inputs = y.shape[-1], x.shape[-1]
    chunks = _chunks(x, math.prod(side))

    def add(total, some):
        x, y = some
        rows, _ = _rows(x, side)
        y = jax.lax.optimization_barrier(y.reshape(-1, outputs).T)
        return total + product(y, rows), None

    zeros = jnp.zeros((outputs, math.prod(side) * inputs), jnp.float32)
    total, _ = jax.lax.scan(add, zeros, (chunks, y.reshape(*chunks.shape[:2], *y.shape[1:])))
    return total.reshape(outputs, *side, inputs).transpose(3, 1, 2, 0)


def _rows(x, side):
    """Collect the pixels that a kernel sees around each pixel, a row for each; and their shape."""
    height, width = _sides(x, side)
    seen = [x[:, i : i + height, j : j + width] for i in range(side[0]) for j in range(side[1])]
    rows = jnp.concatenate(seen, axis=-1)
    return rows.reshape(-1, rows.shape[-1]), rows.shape[:-1]


def _sides(x, side) -> tuple[int, int]:
    return x.shape[1] - side[0] + 1, x.shape[2] - side[1] + 1


def _chunks(x, factor: int):
    """Split images into groups of equal size, whose rows fit into the cache if those of one do."""
    most = max(1, _CACHE // (2 * factor * x[0].size))
    size = max(n for n in range(1, min(most, len(x)) + 1) if len(x) % n == 0)
    return x.reshape(-1, size, *x.shape[1:])


def product(x: Array, y: Array) -> Float32[Array, "rows columns"]:
    """Multiply matrices of bfloat16 with float32 sums, in the form of fast programs on CPUs."""
    return jax.lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)
