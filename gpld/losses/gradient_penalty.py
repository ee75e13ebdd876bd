"""The row-wise Jacobian penalty as a transform of functions (paper, algorithm 1).

For a function f from arrays u to a table of rows, the penalty of row i is the squared
Frobenius norm of its Jacobian, `||J_i||_F^2` with `J_i = d f_i / d u`. It is estimated
without forming the Jacobian: for a vector e of random signs, `E ||J_i^T e||^2 = ||J_i||_F^2`
(Hutchinson, 1990), and `J_i^T e` is one vector-Jacobian product.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..models.layers import at_least_float32

TableFn = Callable[..., Float[Array, "rows classes"]]


def gradient_penalty(fn: TableFn, *, num_probes: int = 1) -> Callable[..., Float[Array, " rows"]]:
    """Turns `fn` into an unbiased estimator of its row-wise squared Jacobian norms.

    Costs one forward pass and `rows * num_probes` vector-Jacobian products.

    Args:
        fn: Map of one sample, from arrays to a table of rows; close over an input to hold
            it fixed.
        num_probes: Independent probes per row, at least 1; the variance falls as its
            inverse.

    Returns:
        `penalty(*inputs, key)`: one non-negative number per row, summed over the inputs.

    Raises:
        ValueError: If `num_probes` is below 1.
    """
    if num_probes < 1:
        raise ValueError(f"`num_probes` must be at least 1, got {num_probes}.")

    def penalty(*inputs: PyTree[Float[Array, "..."]], key: PRNGKeyArray) -> Float[Array, " rows"]:
        table = jax.eval_shape(fn, *inputs)
        rows = jnp.arange(table.shape[0])
        probes = jr.rademacher(key, (num_probes, *table.shape), table.dtype)
        estimate = rowwise(fn)
        return jnp.mean(
            jax.vmap(lambda probe: estimate(*inputs, rows=rows, probes=probe))(probes),
            axis=0,
        )

    return penalty


def rowwise(fn: TableFn) -> Callable[..., Float[Array, " selected"]]:
    """The estimator with given probes: one vector-Jacobian product for each row.

    Args:
        fn: Map of one sample, from arrays to a table of rows.

    Returns:
        `estimate(*inputs, rows, probes)` with the indices of the selected rows and one
        probe for each of them; gives `||J_i^T e_i||^2` for every selected row i, summed
        over the inputs.
    """

    def estimate(
        *inputs: PyTree[Float[Array, "..."]],
        rows: Int[Array, " selected"],
        probes: Float[Array, "selected classes"],
    ) -> Float[Array, " selected"]:
        table, vjp = jax.vjp(fn, *inputs)  # one forward pass serves every row

        def squared_norm(row, probe):
            grads = vjp(jnp.zeros_like(table).at[row].set(probe))
            return jnp.sum(jnp.stack([_sum_squares(g) for g in jax.tree.leaves(grads)]))

        return jax.vmap(squared_norm)(rows, probes)

    return estimate


def _sum_squares(x: Float[Array, "..."]) -> Float[Array, ""]:
    # f32: squares of small derivatives underflow in half precision.
    return jnp.sum(jnp.square(at_least_float32(x)))
