"""Convolutions in the one order of axes that XLA has fast programs for on CPUs.

XLA brings convolutions into that order itself, but not those in the bodies of loops: the derivative
by a kernel takes ten times as long there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jax.extend.core.primitives import conv_general_dilated_p
from jaxtyping import Array

from .rewrite import bind, rewritten

# Images, height, width, channels; height, width, inputs, outputs.
_IMAGES, _KERNEL = (0, 3, 1, 2), (3, 2, 0, 1)


def channels_last(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with the channels of all images and kernels of its convolutions along the last axes.

    To be applied outside of differentiation. Results are the same.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.

    Returns:
        A function of the same signature and result types.
    """
    return rewritten(fn, _convolution)


def transposed(x: Array, kernel: Array, dimension_numbers: Any) -> tuple[Array, Array]:
    """Images and kernel of a convolution with channels last, from any order of axes."""
    x_spec, kernel_spec, _ = dimension_numbers
    x = jnp.transpose(x, (x_spec[0], *x_spec[2:], x_spec[1]))
    return x, jnp.transpose(kernel, (*kernel_spec[2:], kernel_spec[1], kernel_spec[0]))


def restored(y: Array, dimension_numbers: Any) -> Array:
    """The result in the order of axes that was asked for, from one with channels last."""
    out_spec = dimension_numbers[2]
    order = (out_spec[0], *out_spec[2:], out_spec[1])
    return jnp.transpose(y, [order.index(axis) for axis in range(4)])


def _convolution(equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
    params = equation.params
    if equation.primitive is not conv_general_dilated_p or inputs[0].ndim != 4:
        return None
    numbers = params["dimension_numbers"]
    if tuple(numbers) == (_IMAGES, _KERNEL, _IMAGES):
        return None
    x, kernel = inputs
    x, kernel = transposed(x, kernel, numbers)
    own = jax.lax.ConvDimensionNumbers(_IMAGES, _KERNEL, _IMAGES)
    equation = equation.replace(params={**params, "dimension_numbers": own})
    return [restored(bind(equation, (x, kernel))[0], numbers)]
