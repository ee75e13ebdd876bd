"""The penalty as a transform, against exact Jacobians in double precision."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.losses import gradient_penalty, rowwise

pytestmark = pytest.mark.usefixtures("x64")

ROWS, CLASSES, SIZE = 3, 4, 6


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def _network(weights, x):
    """A table of softmax rows over one hidden layer."""
    hidden = jnp.tanh(weights[0] @ x)
    return jax.nn.softmax(jnp.einsum("rch,h->rc", weights[1], hidden))


def _weights():
    return (_normal(0, 5, SIZE), _normal(1, ROWS, CLASSES, 5))


def _exact(fn, x):
    """Squared Frobenius norm of every row's Jacobian, and of one probe the variance.

    For A = J J^T and random signs e, Var(e^T A e) is twice the sum of squares off the
    diagonal.
    """
    jacobian = np.asarray(jax.jit(jax.jacrev(fn))(x))
    gram = np.einsum("rid,rjd->rij", jacobian, jacobian)
    diagonal = np.einsum("rii->ri", gram)
    variance = 2 * (np.sum(gram**2, axis=(1, 2)) - np.sum(diagonal**2, axis=1))
    return diagonal.sum(axis=1), variance


def test_linear_map_with_given_probes():
    weight = jnp.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [-1.0, 5.0]]])
    estimate = rowwise(lambda x: weight @ x)
    probes = jnp.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    # J_1^T (1, -1) = (1, -4); J_0^T (1, 1) = (4, 6) and its negative.
    actual = estimate(jnp.array([7.0, 7.0]), rows=jnp.array([1, 0, 0]), probes=probes)
    np.testing.assert_allclose(actual, [17.0, 52.0, 52.0], rtol=1e-12)


def test_orthogonal_rows_make_the_estimate_exact(getkey):
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    scale = np.array([1.0, 2.0, 0.5])
    weight = jnp.asarray(scale[:, None, None] * q.reshape(3, 2, 6))  # J_i J_i^T = scale_i^2 I
    actual = jax.jit(gradient_penalty(lambda x: weight @ x))(jnp.ones(6), key=getkey())
    np.testing.assert_allclose(actual, 2 * scale**2, rtol=1e-12)


def test_the_mean_over_probes_is_the_squared_frobenius_norm(getkey):
    fn, x, num_probes = jax.tree_util.Partial(_network, _weights()), _normal(2, SIZE), 20_000
    penalty = jax.jit(gradient_penalty(fn, num_probes=num_probes))
    norms, variance = _exact(fn, x)
    error = np.asarray(penalty(x, key=getkey())) - norms
    assert np.all(np.abs(error) < 6 * np.sqrt(variance / num_probes))
    assert np.all(6 * np.sqrt(variance / num_probes) < 0.1 * norms)


def test_variance_falls_as_the_inverse_of_the_number_of_probes(getkey):
    fn, x = jax.tree_util.Partial(_network, _weights()), _normal(2, SIZE)

    @jax.jit
    @jax.vmap
    def estimates(key):
        return [gradient_penalty(fn, num_probes=n)(x, key=key) for n in (1, 4)]

    one, four = estimates(jr.split(getkey(), 5000))
    _, variance = _exact(fn, x)
    # The kurtosis of the estimates is below 3: a relative standard error of the variance
    # below sqrt(2 / 5000) = 2 %.
    np.testing.assert_allclose(np.var(one, axis=0), variance, rtol=0.15)
    np.testing.assert_allclose(np.var(four, axis=0), variance / 4, rtol=0.15)


def test_rows_have_probes_of_their_own(getkey):
    weight = _normal(0, 1, CLASSES, SIZE)
    penalty = gradient_penalty(lambda x: jnp.tile(weight, (ROWS, 1, 1)) @ x)
    samples = jax.jit(jax.vmap(lambda key: penalty(jnp.ones(SIZE), key=key)))(
        jr.split(getkey(), 5000)
    )
    # Equal rows, so that equal probes would make the correlation 1.
    correlation = np.corrcoef(np.asarray(samples).T)
    assert np.all(np.abs(correlation[np.triu_indices(ROWS, 1)]) < 6 / math.sqrt(5000))


def test_inputs_are_summed_also_in_trees(getkey):
    first, second = _normal(0, ROWS, CLASSES, 2), _normal(1, ROWS, CLASSES, 3)

    @jax.jit
    def penalties(x, y, key):
        both = gradient_penalty(lambda x, y: first @ x + second @ y)(x, y, key=key)
        tree = gradient_penalty(lambda z: first @ z["x"] + second @ z["y"])
        one = gradient_penalty(lambda x: first @ x + second @ y)(x, key=key)
        other = gradient_penalty(lambda y: first @ x + second @ y)(y, key=key)
        return both, tree({"x": x, "y": y}, key=key), one + other

    both, tree, separate = penalties(_normal(2, 2), _normal(3, 3), getkey())
    np.testing.assert_allclose(both, separate, rtol=1e-12)
    np.testing.assert_allclose(tree, separate, rtol=1e-12)


def test_rotating_the_input_keeps_the_penalty(getkey):
    q = np.linalg.qr(np.random.default_rng(5).normal(size=(SIZE, SIZE)))[0]

    @jax.jit
    def penalties(weights, x, rotation, key):
        plain = gradient_penalty(lambda x: _network(weights, x))(x, key=key)
        turned = gradient_penalty(lambda x: _network(weights, rotation @ x))
        return plain, turned(rotation.T @ x, key=key)

    plain, turned = penalties(_weights(), _normal(2, SIZE), jnp.asarray(q), getkey())
    np.testing.assert_allclose(turned, plain, rtol=1e-10, atol=1e-20)


def test_vmap_equals_one_by_one(getkey):
    penalty = gradient_penalty(jax.tree_util.Partial(_network, _weights()))
    xs, keys = _normal(2, 3, SIZE), jr.split(getkey(), 3)
    single = jax.jit(penalty)
    one_by_one = np.stack([single(x, key=key) for x, key in zip(xs, keys, strict=True)])
    batched = jax.jit(jax.vmap(lambda x, key: penalty(x, key=key)))(xs, keys)
    # Absolute: probabilities sum to one, so that a constant probe gives zero up to rounding.
    np.testing.assert_allclose(batched, one_by_one, rtol=1e-10, atol=1e-20)


def test_gradients_by_parameters_and_input_equal_finite_differences():
    key = jr.key(0)

    @jax.jit
    def loss(weights, x):
        return jnp.sum(gradient_penalty(lambda x: _network(weights, x))(x, key=key))

    args = (_weights(), _normal(2, SIZE))
    grads = jax.jit(jax.grad(loss, (0, 1)))(*args)
    leaves, treedef = jax.tree.flatten(args)
    step = 1e-5  # errors of order step^2 and 1e-16 / step
    for i, grad in enumerate(jax.tree.leaves(grads)):
        direction = np.random.default_rng(i).normal(size=grad.shape)

        def moved(sign, i=i, direction=direction):
            moved = [x + sign * step * direction if j == i else x for j, x in enumerate(leaves)]
            return float(loss(*jax.tree.unflatten(treedef, moved)))

        expected = (moved(1) - moved(-1)) / (2 * step)
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(np.sum(grad * direction), expected, rtol=1e-6)


def test_squares_do_not_underflow_in_half_precision(getkey):
    fn = lambda x: jnp.float16(1e-5) * x[None]  # noqa: E731
    actual = jax.jit(gradient_penalty(fn))(jnp.ones(2, jnp.float16), key=getkey())
    # 1e-10 is below the smallest float16.
    np.testing.assert_allclose(actual, [2e-10], rtol=0.01)


def test_at_least_one_probe():
    with pytest.raises(ValueError, match="`num_probes` must be at least 1, got 0"):
        gradient_penalty(lambda x: x[None], num_probes=0)
