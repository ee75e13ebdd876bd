"""Products that loops sum up, taken after them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.extend.core.primitives import add_jaxvals_p

from gpld.xla.weight_gradients import sum_after_loops

STEPS, BATCH, SIZE = 6, 3, 4
W, B = jr.normal(jr.key(0), (SIZE, SIZE)) / 2, jr.normal(jr.key(1), (1, SIZE))
X = jr.normal(jr.key(2), (STEPS, BATCH, SIZE))
H = jr.normal(jr.key(3), (BATCH, SIZE))


def dense(weight, bias, h, x):
    return jnp.tanh(h @ weight + x + bias)


def blocks(weight, bias, h, x):
    """Weights that enter by parts, one of them transposed, and one part twice."""
    upper, lower = jnp.split(weight, 2)
    left, right = jnp.unstack(h.reshape(BATCH, 2, 2), axis=1)
    return jnp.tanh(left @ upper + right @ lower + x @ weight.T + bias + left @ upper)


def batched(weight, bias, h, x):
    parts = jnp.einsum("bgi,gio->bgo", h.reshape(BATCH, 2, 2), weight.reshape(2, 2, 4))
    return jnp.tanh(parts.sum(1) + x + bias)


def scaled(weight, bias, h, x):
    """A bias that is a scale as well, as that of a norm."""
    return jnp.tanh(bias * (h @ weight) + x + bias)


def rolled(step, **options):
    def loss(weight, bias, h, xs):
        def body(h, x):
            h = step(weight, bias, h, x)
            return h, h

        last, hs = jax.lax.scan(body, h, xs, **options)
        return jnp.sum(jnp.sin(last)) + jnp.sum(hs**2)

    return jax.grad(loss, argnums=(0, 1, 2, 3))


def carries(fn):
    """Shapes of what the scans of a program carry."""
    jaxpr = jax.make_jaxpr(fn)(W, B, H, X)
    scans = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    assert len(scans) == 2  # forward and back
    shapes = []
    for scan in scans:
        first = scan.params["num_consts"]
        carry = scan.invars[first : first + scan.params["num_carry"]]
        shapes += [x.aval.shape for x in carry]
    return shapes


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"unroll": 2}])
@pytest.mark.parametrize("step", [dense, blocks, batched, scaled])
def test_gradients_are_the_same_and_the_loop_carries_no_weights(step, options, biases, x64):
    arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (W, B, H, X))
    gradient = rolled(step, **options)
    rewritten = sum_after_loops(gradient, biases=biases)
    for actual, expected in zip(rewritten(*arguments), gradient(*arguments), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert W.shape in carries(gradient) or (2, 2, 4) in carries(gradient)
    left = carries(rewritten)
    assert (BATCH, SIZE) in left
    assert not {W.shape, (2, 2, 4)} & set(left)
    assert (not biases) == any(shape in left for shape in (B.shape, (SIZE,)))


def test_sums_that_the_loop_itself_reads_stay():
    def running(xs):
        def body(total, x):
            total = total + x.T @ x
            return total, total[0]

        return jax.lax.scan(body, jnp.zeros((SIZE, SIZE)), xs)

    for actual, expected in zip(sum_after_loops(running)(X), running(X), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_products_with_what_does_not_change_stay():
    """They would have to be kept for every step, and so would the weights."""
    gradient = rolled(lambda weight, bias, h, x: dense(weight @ weight, bias, h, x))
    assert carries(sum_after_loops(gradient)) == carries(gradient)
    for actual, expected in zip(
        sum_after_loops(gradient)(W, B, H, X), gradient(W, B, H, X), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "term",
    [
        lambda x: jax.lax.pad(x[:, :3].T @ x, 1.0, [(1, 0, 0), (0, 0, 0)]),
        lambda x: (1.7 * x.T @ x).astype(jnp.int32).astype(jnp.float32),
    ],
    ids=["padding with ones", "integers"],
)
def test_what_is_not_linear_is_summed_in_the_loop(term):
    def fn(xs):
        add = lambda total, x: (add_jaxvals_p.bind(total, term(x)), None)  # noqa: E731
        return jax.lax.scan(add, jnp.zeros((SIZE, SIZE)), xs)[0]

    np.testing.assert_allclose(sum_after_loops(fn)(X), fn(X), rtol=1e-5)


def test_values_that_come_out_of_the_loop_are_the_same():
    def fn(weight, xs):
        def body(h, x):
            h = jnp.tanh(x @ weight + h)
            return h, {"sum": jnp.sum(h), "state": h}

        return jax.lax.scan(body, H, xs)

    actual, expected = sum_after_loops(jax.jit(fn))(W, X), fn(W, X)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-6)
