"""Mixed precision as a transform of functions: matrix products in bfloat16, the rest in float32.

The networks are written, and differentiated, in float32. `mixed` then takes each product of
the whole program, those of the derivatives included, with factors rounded to bfloat16 and
sums in float32. So normalisation, distributions, losses and the optimiser see float32 alone,
and no layer knows of it.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jax.extend.core.primitives import conv_general_dilated_p, dot_general_p
from jaxtyping import Array, Float, Shaped

from .choices import Choices, backend
from .convolutions import conv_as_products, product
from .rewrite import bind, rewritten

# XLA takes batches of bfloat16 products on CPUs one by one in plain loops; up to so many are
# written as products of their own, which are many times faster.
_MAX_UNROLLED = 16


def mixed(fn: Callable[..., Any], *, on_cpu: bool, tiles: bool = False) -> Callable[..., Any]:
    """Take the float32 products of a function in bfloat16, and sum them in float32.

    To be applied outside of differentiation, so that derivatives are covered: `mixed` of a
    gradient, not the gradient of `mixed`. Products that ask for `jax.lax.Precision.HIGHEST`
    stay as they are, and so do their derivatives.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.
        on_cpu: Whether to write products in the form that is fast on CPUs.
        tiles: Whether a CPU multiplies matrices of bfloat16 in tiles (AMX). Without,
            convolutions stay in float32 there.

    Returns:
        A function of the same signature and result types.
    """
    return rewritten(fn, functools.partial(_round_factors, on_cpu, tiles))


def full_products(dtype: jnp.dtype | str) -> contextlib.AbstractContextManager:
    """Keep GPUs, within this context, from rounding factors of float32 products to TF32.

    It does nothing on CPUs, where they never do; for factors of another dtype; and where the user
    has chosen a precision of products, for instance with `JAX_DEFAULT_MATMUL_PRECISION`.

    Args:
        dtype: Of the factors.
    """
    rounds = jnp.dtype(dtype) == jnp.float32 and backend() != "cpu"
    if not rounds or _chosen_products() is not None:
        return contextlib.nullcontext()
    return jax.default_matmul_precision("highest")


def describe_products(choices: Choices) -> str | None:
    """Say how products of matrices are taken; None where that follows from the precision."""
    if (chosen := _chosen_products()) is not None:
        return f"at the precision {chosen}, which JAX was told to take"
    if choices.precision != "float32" or choices.backend == "cpu":
        return None
    return "in float32, with no factor rounded to TF32"


def _chosen_products() -> str | None:
    """Return JAX's own setting, which is None by default."""
    return jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]


def _round_factors(
    on_cpu: bool, tiles: bool, equation: JaxprEqn, inputs: list[Any]
) -> list[Any] | None:
    if equation.primitive not in (dot_general_p, conv_general_dilated_p):
        return None
    (x, y), params = inputs, equation.params
    exact = params["precision"] is not None and jax.lax.Precision.HIGHEST in params["precision"]
    if exact or not x.dtype == y.dtype == jnp.float32:
        return None
    if equation.primitive is conv_general_dilated_p and on_cpu:
        result = conv_as_products(x, y, params) if tiles else None
        return None if result is None else [result]
    rounded = (x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    if on_cpu:
        result = _product_on_cpu(*rounded, params["dimension_numbers"])
        return None if result is None else [result]
    params = {**params, "preferred_element_type": jnp.float32}
    return bind(equation.replace(params=params), rounded)


def _product_on_cpu(x, y, dimension_numbers) -> Float[Array, "..."] | None:
    """Take a product in the one form that XLA has fast programs for; None if it has none."""
    (x_axes, y_axes), (x_batch, y_batch) = dimension_numbers
    batch = tuple(x.shape[axis] for axis in x_batch)
    if math.prod(batch) > _MAX_UNROLLED:
        return None
    x, x_transposed, x_rest = _arranged(x, x_batch, x_axes, contracted_last=True)
    y, _, y_rest = _arranged(y, y_batch, y_axes, contracted_last=False)
    if x_transposed:  # without the barriers XLA would undo that
        x = jax.lax.optimization_barrier(x)
    products = [product(a, b) for a, b in zip(x, y, strict=True)]
    if x_transposed:
        products = jax.lax.optimization_barrier(products)
    return jnp.stack(products).reshape(*batch, *x_rest, *y_rest)


def _arranged(
    x: Shaped[Array, "..."],
    batch: Sequence[int],
    contracted: Sequence[int],
    *,
    contracted_last: bool,
) -> tuple[Shaped[Array, "batch _ _"], bool, tuple[int, ...]]:
    """Arrange a factor as a batch of matrices.

    Returns:
        The matrices; whether that moves the contracted axes; sizes of the other axes.
    """
    rest = [axis for axis in range(x.ndim) if axis not in (*batch, *contracted)]
    order = [*batch, *rest, *contracted] if contracted_last else [*batch, *contracted, *rest]
    sizes = [math.prod(x.shape[axis] for axis in axes) for axes in (batch, rest, contracted)]
    shape = sizes if contracted_last else (sizes[0], sizes[2], sizes[1])
    moved = [axis for axis in order if axis not in batch] != sorted({*rest, *contracted})
    return jnp.transpose(x, order).reshape(shape), moved, tuple(x.shape[axis] for axis in rest)
