"""The row-wise Jacobian penalty as a transform of functions (paper, algorithm 1).

For a function f from arrays u to a table of rows, the penalty of row i is the squared
Frobenius norm of its Jacobian, `||J_i||_F^2` with `J_i = d f_i / d u`. It is estimated
without forming the Jacobian: for a vector e of random signs, `E ||J_i^T e||^2 = ||J_i||_F^2`
(Hutchinson, 1990), and `J_i^T e` is one vector-Jacobian product.

    estimator   draws                        value of row i          passes through f
    rowwise     signs e_i for every row      ||J_i^T e_i||^2         1 reverse for each row
    joint       signs e_i for every row      <J_i^T e_i, g>, with    1 reverse, 1 forward
                                             g = sum_j J_j^T e_j
    forward     signs v like the inputs      ||J_i v||^2             1 forward
    exact       nothing                      ||J_i||_F^2             1 reverse for each entry

All are unbiased. `rowwise` is the paper's. The values of `joint` sum to `||g||^2`, may be
negative by themselves, and carry beside the noise of `rowwise` that of all pairs of rows,
which has mean zero because the signs of two rows are independent.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..config import EstimatorName
from ..models.layers import at_least_float32

TableFn = Callable[..., Float[Array, "rows classes"]]
Inputs = tuple[PyTree[Float[Array, "..."]], ...]


def gradient_penalty(
    fn: TableFn, *, estimator: EstimatorName = "rowwise", num_probes: int = 1
) -> Callable[..., Float[Array, " rows"]]:
    """Turn a function into an estimator of its row-wise squared Jacobian norms.

    Args:
        fn: Map of one sample, from arrays to a table of rows; close over an input to hold
            it fixed.
        estimator: How the norms are estimated, see above.
        num_probes: Independent estimates that are averaged, at least 1; the variance falls
            as its inverse. `exact` has none to average.

    Returns:
        The function `penalty(*inputs, key)`, which gives one number for each row, summed over the
        inputs. `exact` needs no key. `penalty(*inputs, probes=...)` takes what `draw_probes` gave
        instead.

    Raises:
        ValueError: If `num_probes` is below 1 or the estimator is unknown; when the penalty
            is called, if it has neither key nor probes.
    """
    return make_penalty(fn, LITERAL, estimator, num_probes)


def rowwise(
    fn: TableFn, inputs: Inputs, probes: Float[Array, "rows classes"]
) -> Float[Array, " rows"]:
    """`||J_i^T e_i||^2` for every row i, with one vector-Jacobian product each."""
    table, vjp = jax.vjp(fn, *inputs)  # one forward pass serves every row

    def squared_norm(row, probe):
        grads = vjp(jnp.zeros_like(table).at[row].set(probe))
        return jnp.sum(jnp.stack([_sum_squares(g) for g in jax.tree.leaves(grads)]))

    return over_leading_axis(squared_norm)(jnp.arange(table.shape[0]), probes)


def joint(
    fn: TableFn, inputs: Inputs, probes: Float[Array, "rows classes"]
) -> Float[Array, " rows"]:
    """`<J_i^T e_i, g>` for every row i, where `g` is the gradient of the probed table.

    Since `<J_i^T e_i, g> = <e_i, J_i g>`, one forward pass along g gives the share that
    every row has in `||g||^2`.
    """
    _, vjp = jax.vjp(fn, *inputs)
    _, tangents = jax.jvp(fn, inputs, vjp(probes))
    return jnp.sum(at_least_float32(probes * tangents), axis=1)


def flatten(fn: TableFn) -> TableFn:
    """Turn a map into one to a table of a single row, which holds all rows.

    Its `rowwise` value is the sum of the values of `joint`, at the price of a single reverse
    pass: the cheapest estimate where only the mean over rows is wanted.
    """
    return lambda *inputs: fn(*inputs).reshape(1, -1)


def forward(fn: TableFn, inputs: Inputs, probes: Inputs) -> Float[Array, " rows"]:
    """`||J_i v||^2` for every row i, with one Jacobian-vector product."""
    _, tangents = jax.jvp(fn, inputs, probes)
    return jax.vmap(_sum_squares)(tangents)


def exact(fn: TableFn, inputs: Inputs) -> Float[Array, " rows"]:
    """`||J_i||_F^2` for every row i, from the derivatives of every entry of the table."""
    return over_classes(rowwise, fn, inputs)


def over_classes(
    rowwise: Callable[..., Float[Array, " rows"]], fn: TableFn, inputs: Inputs
) -> Float[Array, " rows"]:
    """Sum `||J_i^T e||^2` over the unit vectors e, one for each class."""
    table = jax.eval_shape(fn, *inputs)
    rows, classes = table.shape
    units = jnp.eye(classes, dtype=table.dtype)
    one_class = lambda unit: rowwise(fn, inputs, jnp.tile(unit, (rows, 1)))  # noqa: E731
    return jnp.sum(jax.vmap(one_class)(units), axis=0)


LITERAL = {"rowwise": rowwise, "joint": joint, "forward": forward, "exact": exact}


def draw_probes(
    fn: TableFn,
    inputs: Inputs,
    *,
    estimator: EstimatorName,
    num_probes: int,
    key: PRNGKeyArray,
) -> PyTree[Float[Array, "probes ..."]]:
    """Draw the random signs of an estimator.

    Returns:
        Signs with a leading axis of `num_probes`: a table for `rowwise` and `joint`, a tree
        like the inputs for `forward`, nothing for `exact`.
    """
    shapes = {
        "rowwise": lambda: jax.eval_shape(fn, *inputs),
        "joint": lambda: jax.eval_shape(fn, *inputs),
        "forward": lambda: inputs,
        "exact": lambda: (),
    }
    leaves, treedef = jax.tree.flatten(shapes[estimator]())
    keys = jr.split(key, len(leaves))
    signs = [
        jr.rademacher(key, (num_probes, *leaf.shape), leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, signs)


def make_penalty(
    fn: TableFn,
    estimates: Mapping[str, Callable[..., Float[Array, " rows"]]],
    estimator: EstimatorName,
    num_probes: int,
) -> Callable[..., Float[Array, " rows"]]:
    """Make a penalty with one family of estimators.

    Args:
        fn: The map.
        estimates: `(fn, inputs, probes) -> one number per row` by the name of the estimator.
        estimator: One of these names.
        num_probes: Probes that are averaged, at least 1.

    Raises:
        ValueError: If there is no such estimator, or `num_probes < 1`.
    """
    if estimator not in estimates:
        raise ValueError(f"`estimator` must be one of {', '.join(estimates)}, got {estimator!r}.")
    if num_probes < 1:
        raise ValueError(f"`num_probes` must be at least 1, got {num_probes}.")
    estimate = estimates[estimator]

    def penalty(
        *inputs: PyTree[Float[Array, "..."]],
        key: PRNGKeyArray | None = None,
        probes: PyTree[Float[Array, "probes ..."]] | None = None,
    ) -> Float[Array, " rows"]:
        if estimator == "exact":
            return estimate(fn, inputs)
        if probes is None:
            if key is None:
                raise ValueError(f"The estimator {estimator} draws probes: `key` must be given.")
            probes = draw_probes(fn, inputs, estimator=estimator, num_probes=num_probes, key=key)
        one = lambda probes: estimate(fn, inputs, probes)  # noqa: E731
        return jnp.mean(over_leading_axis(one)(probes), axis=0)

    return penalty


def over_leading_axis(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Map over the leading axis.

    Without an axis where its length is one: with it, XLA's programs are half as slow again.
    """

    def mapped(*args):
        if jax.tree.leaves(args)[0].shape[0] == 1:
            return fn(*jax.tree.map(lambda x: x[0], args))[None]
        return jax.vmap(fn)(*args)

    return mapped


def _sum_squares(x: Float[Array, "..."]) -> Float[Array, ""]:
    # f32: squares of small derivatives underflow in half precision.
    return jnp.sum(jnp.square(at_least_float32(x)))
