"""Convolutions as products of matrices, on CPUs and with factors in bfloat16.

XLA has fast programs for such products on processors with tiles (AMX), and none for such
convolutions. What a kernel sees of an image around each pixel becomes a row of a matrix; images are
taken a few at a time, so that these rows, of which there are many times as many numbers as in the
images, stay in the cache.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, BFloat16, Float32

from .convolutions import restored, transposed

# Bytes of the rows that are made at a time: half of the second cache of a core.
_CACHE = 2**20

Images = Float32[Array, "image height width channels"]


def conv_as_products(x: Array, kernel: Array, params: dict[str, Any]) -> Array | None:
    """A convolution, or None where it is not one of those that are known here.

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
    x, kernel = transposed(x, kernel, params["dimension_numbers"])
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
    return restored(y, params["dimension_numbers"])


def _images(
    x: BFloat16[Array, "image _ _ inputs"], kernel: BFloat16[Array, "side side inputs outputs"]
) -> Images:
    """The convolution of padded images with a small kernel."""
    side = kernel.shape[:2]
    weights = kernel.reshape(-1, kernel.shape[-1])

    def some(x):
        rows, shape = _rows(x, side)
        return _product(rows, weights).reshape(*shape, -1)

    chunks = _chunks(x, math.prod(side))
    return jax.lax.map(some, chunks).reshape(x.shape[0], *_sides(x, side), -1)


def _kernel(
    x: BFloat16[Array, "inputs _ _ image"], y: BFloat16[Array, "_ _ image outputs"]
) -> Float32[Array, "inputs _ _ outputs"]:
    """The derivative by a small kernel: of padded images with what is as large as they are."""
    x, y = x.transpose(3, 1, 2, 0), y.transpose(2, 0, 1, 3)
    side = (x.shape[1] - y.shape[1] + 1, x.shape[2] - y.shape[2] + 1)
    outputs, inputs = y.shape[-1], x.shape[-1]
    chunks = _chunks(x, math.prod(side))

    def add(total, some):
        x, y = some
        rows, _ = _rows(x, side)
        y = jax.lax.optimization_barrier(y.reshape(-1, outputs).T)
        return total + _product(y, rows), None

    zeros = jnp.zeros((outputs, math.prod(side) * inputs), jnp.float32)
    total, _ = jax.lax.scan(add, zeros, (chunks, y.reshape(*chunks.shape[:2], *y.shape[1:])))
    return total.reshape(outputs, *side, inputs).transpose(3, 1, 2, 0)


def _rows(x, side):
    """What a kernel sees around each pixel, one row for each; and the shape of the pixels."""
    height, width = _sides(x, side)
    seen = [x[:, i : i + height, j : j + width] for i in range(side[0]) for j in range(side[1])]
    rows = jnp.concatenate(seen, axis=-1)
    return rows.reshape(-1, rows.shape[-1]), rows.shape[:-1]


def _sides(x, side) -> tuple[int, int]:
    return x.shape[1] - side[0] + 1, x.shape[2] - side[1] + 1


def _chunks(x, factor: int):
    """Images in groups of equal size, whose rows fit into the cache if those of one do."""
    most = max(1, _CACHE // (2 * factor * x[0].size))
    size = max(n for n in range(1, min(most, len(x)) + 1) if len(x) % n == 0)
    return x.reshape(-1, size, *x.shape[1:])


def _product(x, y) -> Float32[Array, "rows columns"]:
    return jax.lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)
