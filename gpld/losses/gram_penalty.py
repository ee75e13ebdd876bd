"""The gradient penalty of maps that begin affinely: the same numbers for less work.

For `f = tail(W u + b)` the chain rule makes every vector-Jacobian product a multiple of W,
`J_i^T e = W^T d` with `d` the gradient by the affine layer's output, and therefore

    ||J_i^T e||^2 = d^T G d,    G = W W^T.

G is formed once, and no probe touches the input's width again. It is an identity: the same
probes give the same penalty, and the same gradients, which reach W through G. What is left
of a row's work is its own output layer and the trunk, as in `FactoredMap`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..config import EstimatorName
from ..models import FactoredMap
from ..models.layers import at_least_float32
from .gradient_penalty import Inputs, forward, make_penalty, over_classes, over_leading_axis


def gram_penalty(
    fn: FactoredMap,
    *,
    estimator: EstimatorName = "rowwise",
    num_probes: int = 1,
    row_by_row: bool = False,
) -> Callable[..., Float[Array, " rows"]]:
    """Turn a factored map into the estimator that `gradient_penalty` is, by the Gram identity.

    Results and errors are those of `gradient_penalty`. Under `jax.vmap` over inputs the Gram
    matrix is formed once for all of them.

    Args:
        fn: The map.
        estimator: As in `gradient_penalty`.
        num_probes: As in `gradient_penalty`.
        row_by_row: Whether `rowwise` and `exact` take one row after the other, and compute it
            again for its gradient. On a CPU this takes a quarter off the time, and most of the
            memory: the numbers of one row at all states fit the caches, those of all rows do not.
    """
    rowwise = functools.partial(rowwise_gram, row_by_row=row_by_row)
    estimates = {
        "rowwise": rowwise,
        "joint": joint_gram,
        # Its probe passes the first layer once, like the input: nothing to save.
        "forward": forward,
        "exact": functools.partial(over_classes, rowwise),
    }
    return make_penalty(fn, estimates, estimator, num_probes)


def rowwise_gram(
    fn: FactoredMap,
    inputs: Inputs,
    probes: Float[Array, "rows classes"],
    *,
    row_by_row: bool = False,
) -> Float[Array, " rows"]:
    """`||J_i^T e_i||^2` for every row i; each row sees its own output layer only."""
    gram = gram_matrix(fn)
    x, trunk_vjp = jax.vjp(fn.trunk, fn.project(*inputs))

    def squared_norm(head, probe):
        _, row_vjp = jax.vjp(lambda x: fn.output(head(x)), x)
        (grad,) = trunk_vjp(*row_vjp(probe))
        return quadratic_form(gram, at_least_float32(grad))

    rows = (fn.heads(), probes)
    if row_by_row and probes.shape[0] > 1:
        return jax.lax.map(jax.checkpoint(lambda row: squared_norm(*row)), rows)
    return over_leading_axis(squared_norm)(*rows)


def joint_gram(
    fn: FactoredMap, inputs: Inputs, probes: Float[Array, "rows classes"]
) -> Float[Array, " rows"]:
    """`<J_i^T e_i, g>` for every row i, where `g` is the gradient of the probed table."""
    y = fn.project(*inputs)
    _, tail_vjp = jax.vjp(fn.tail, y)
    (grad,) = tail_vjp(probes)
    direction = jnp.matmul(at_least_float32(grad), gram_matrix(fn), precision="highest")
    _, tangents = jax.jvp(fn.tail, (y,), (direction.astype(y.dtype),))
    return jnp.sum(at_least_float32(probes * tangents), axis=1)


def gram_matrix(fn: FactoredMap) -> Float[Array, "pre pre"]:
    """Products of the first layer's weights with each other, summed over its inputs."""
    return _gram(at_least_float32(fn.first.kernel))


# The two derivatives below are JAX's own, with the symmetry of G used: it spares one
# product with the inputs' width in the first and one of three with G in the second.


@jax.custom_jvp
def _gram(kernel: Float[Array, "inputs pre"]) -> Float[Array, "pre pre"]:
    return jnp.matmul(kernel.T, kernel, precision="highest")


@_gram.defjvp
def _gram_jvp(primals, tangents):
    (kernel,), (kernel_tangent,) = primals, tangents
    half = jnp.matmul(kernel.T, kernel_tangent, precision="highest")
    return _gram(kernel), half + half.T


@jax.custom_jvp
def quadratic_form(gram: Float[Array, "pre pre"], x: Float[Array, " pre"]) -> Float[Array, ""]:
    """`x^T G x` for a symmetric G."""
    return jnp.matmul(x, gram, precision="highest") @ x


@quadratic_form.defjvp
def _quadratic_form_jvp(primals, tangents):
    (gram, x), (gram_tangent, x_tangent) = primals, tangents
    product = jnp.matmul(x, gram, precision="highest")
    by_gram = jnp.matmul(x, gram_tangent, precision="highest") @ x
    return product @ x, 2 * (product @ x_tangent) + by_gram
