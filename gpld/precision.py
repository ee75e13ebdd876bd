"""Mixed precision as a transform of functions: matrix products in bfloat16, the rest in float32.

The networks are written, and differentiated, in float32. `mixed` then takes each product of
the whole program, those of the derivatives included, with factors rounded to bfloat16 and
sums in float32. So normalisation, distributions, losses and the optimiser see float32 alone,
and no layer knows of it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.extend.core.primitives import dot_general_p, jit_p
from jaxtyping import Array, Shaped

# XLA takes batches of bfloat16 products on CPUs one by one in plain loops; up to so many are
# written as products of their own, which are many times faster.
_MAX_UNROLLED = 16


def mixed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with its float32 products taken in bfloat16 and summed in float32.

    To be applied outside of differentiation, so that derivatives are covered: `mixed` of a
    gradient, not the gradient of `mixed`. Products that ask for `jax.lax.Precision.HIGHEST`
    stay as they are, and so do their derivatives.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.

    Returns:
        A function of the same signature and result types.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        jaxpr, outputs, static = eqx.filter_make_jaxpr(fn)(*args, **kwargs)
        leaves = jax.tree.leaves(eqx.filter((args, kwargs), eqx.is_array))
        results = _evaluate(jaxpr.jaxpr, jaxpr.consts, *leaves)
        return eqx.combine(jax.tree.unflatten(jax.tree.structure(outputs), results), static)

    return wrapped


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], *args: Any) -> list[Any]:
    """Evaluates a program with other products."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _apply(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive is dot_general_p:
        return [_product(*inputs, **params)]
    called = params["jaxpr"] if primitive is jit_p else params.get("call_jaxpr")
    if called is not None:  # of custom derivatives too, since differentiation is over
        return _evaluate(called.jaxpr, called.consts, *inputs)
    params = {name: _converted(value) for name, value in params.items()}
    results = primitive.bind(*inputs, **params)
    return results if primitive.multiple_results else [results]


def _converted(param: Any) -> Any:
    """A parameter of a primitive, with other products if it is a program (a loop's body)."""
    if isinstance(param, ClosedJaxpr):
        inputs = [
            jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
            for aval in param.in_avals
        ]
        return jax.make_jaxpr(functools.partial(_evaluate, param.jaxpr, param.consts))(*inputs)
    if isinstance(param, Jaxpr):
        return _converted(ClosedJaxpr(param, [])).jaxpr
    if isinstance(param, tuple) and any(isinstance(value, ClosedJaxpr) for value in param):
        return tuple(map(_converted, param))
    return param


def _product(x, y, *, dimension_numbers, precision, **params):
    """`jax.lax.dot_general`, of rounded factors if they are float32."""
    exact = precision is not None and jax.lax.Precision.HIGHEST in precision
    if exact or not x.dtype == y.dtype == jnp.float32:
        return jax.lax.dot_general(x, y, dimension_numbers, precision, **params)
    contracting, (x_batch, y_batch) = dimension_numbers
    rounded = (x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    if not x_batch or jax.default_backend() != "cpu":
        return jax.lax.dot_general(*rounded, dimension_numbers, preferred_element_type=x.dtype)
    shape = tuple(x.shape[axis] for axis in x_batch)
    if math.prod(shape) > _MAX_UNROLLED:
        return jax.lax.dot_general(x, y, dimension_numbers, precision, **params)
    (xs, x_axes), (ys, y_axes) = map(_batch_first, rounded, (x_batch, y_batch), contracting)
    axes = ((x_axes, y_axes), ((), ()))
    products = [
        jax.lax.dot_general(xs[i], ys[i], axes, preferred_element_type=x.dtype)
        for i in range(math.prod(shape))
    ]
    return jnp.stack(products).reshape(*shape, *products[0].shape)


def _batch_first(
    x: Shaped[Array, "..."], batch: Sequence[int], contracting: Sequence[int]
) -> tuple[Shaped[Array, "batch ..."], tuple[int, ...]]:
    """Moves batch axes into one leading axis; and the contracted axes of one of its entries."""
    rest = [axis for axis in range(x.ndim) if axis not in batch]
    moved = jnp.transpose(x, (*batch, *rest))
    return moved.reshape(-1, *moved.shape[len(batch) :]), tuple(map(rest.index, contracting))
