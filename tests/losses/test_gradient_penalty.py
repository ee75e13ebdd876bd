"""The penalty as a transform, against exact Jacobians in double precision."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, strategies as st

from gpld.losses import draw_probes, flatten, gradient_penalty
from gpld.models.layers import at_least_float32

pytestmark = pytest.mark.usefixtures("x64")

ROWS, CLASSES, SIZE = 3, 4, 6
ESTIMATORS = ("rowwise", "joint", "forward", "exact")
RANDOM = ESTIMATORS[:3]


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def _network(weights, x):
    """A table of softmax rows over one hidden layer."""
    hidden = jnp.tanh(weights[0] @ x)
    return jax.nn.softmax(jnp.einsum("rch,h->rc", weights[1], hidden))


def _weights():
    return (_normal(0, 5, SIZE), _normal(1, ROWS, CLASSES, 5))


@pytest.fixture(scope="module")
def jacobian():
    """Of the network, by row, class and input."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.jacrev(lambda x: _network(_weights(), x)))(_normal(2, SIZE)))


def _quadratic_variance(form):
    """Var(e^T A e) for independent random signs e: twice the squares off the diagonal."""
    form = (form + np.swapaxes(form, -1, -2)) / 2
    off = form - np.einsum("...ii->...i", form)[..., None] * np.eye(form.shape[-1])
    return 2 * np.sum(off**2, axis=(-1, -2))


def _variance(estimator, jacobian):
    """Closed form of the variance of one probe's value, by row."""
    if estimator == "rowwise":  # e_i^T (J_i J_i^T) e_i
        return _quadratic_variance(np.einsum("rid,rjd->rij", jacobian, jacobian))
    if estimator == "forward":  # v^T (J_i^T J_i) v
        return _quadratic_variance(np.einsum("ric,rid->rcd", jacobian, jacobian))
    flat = jacobian.reshape(-1, SIZE)  # e^T (P_i J J^T) e, with P_i the entries of row i
    select = np.repeat(np.eye(ROWS), CLASSES, axis=1)
    return _quadratic_variance(select[:, :, None] * (flat @ flat.T))


# Known answers


def test_linear_map_with_given_probes():
    weight = jnp.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [-1.0, 5.0]]])
    signs = jnp.array([[[1.0, 1.0], [1.0, -1.0]]])
    # J_0^T (1, 1) = (4, 6) and J_1^T (1, -1) = (1, -4), whose sum is g = (5, 2).
    expected = {
        "rowwise": (signs, [16 + 36, 1 + 16]),
        "joint": (signs, [4 * 5 + 6 * 2, 1 * 5 - 4 * 2]),
        # J_0 (1, -1) = (-1, -1) and J_1 (1, -1) = (-1, -6).
        "forward": ((jnp.array([[1.0, -1.0]]),), [1 + 1, 1 + 36]),
        "exact": (None, [1 + 4 + 9 + 16, 0 + 1 + 1 + 25]),
    }
    for estimator, (probes, values) in expected.items():
        penalty = gradient_penalty(lambda x: weight @ x, estimator=estimator)
        actual = penalty(jnp.array([7.0, 7.0]), probes=probes)
        np.testing.assert_allclose(actual, values, rtol=1e-12)


def test_the_values_of_joint_sum_to_the_squared_norm_of_one_gradient(getkey):
    fn, x = jax.tree_util.Partial(_network, _weights()), _normal(2, SIZE)
    probes = draw_probes(fn, (x,), estimator="joint", num_probes=1, key=getkey())
    values = jax.jit(gradient_penalty(fn, estimator="joint"))(x, probes=probes)
    (gradient,) = jax.vjp(fn, x)[1](probes[0])
    np.testing.assert_allclose(np.sum(values), np.sum(gradient**2), rtol=1e-12)
    # Which is what a table of one row is worth.
    flat = gradient_penalty(flatten(fn))(x, probes=probes.reshape(1, 1, -1))
    np.testing.assert_allclose(flat, [np.sum(values)], rtol=1e-12)


def test_softmax_of_a_linear_map_in_closed_form():
    """J = (diag(p) - p p^T) W, so |J|^2 = sum_c p_c^2 |w_c - sum_k p_k w_k|^2."""
    weight, x = _normal(0, ROWS, CLASSES, SIZE), _normal(1, SIZE)
    probs = np.asarray(jax.nn.softmax(weight @ x))
    centred = weight - np.einsum("rc,rcd->rd", probs, weight)[:, None]
    expected = np.sum((probs[..., None] * centred) ** 2, axis=(1, 2))
    fn = lambda x: jax.nn.softmax(weight @ x)  # noqa: E731
    actual = jax.jit(gradient_penalty(fn, estimator="exact"))(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_orthogonal_rows_make_the_estimate_exact(getkey):
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    scale = np.array([1.0, 2.0, 0.5])
    weight = jnp.asarray(scale[:, None, None] * q.reshape(3, 2, 6))  # J_i J_j^T = scale_i^2 d_ij
    for estimator in ("rowwise", "joint", "exact"):
        penalty = gradient_penalty(lambda x: weight @ x, estimator=estimator)
        actual = jax.jit(penalty)(jnp.ones(6), key=getkey())
        np.testing.assert_allclose(actual, 2 * scale**2, rtol=1e-12)


def test_orthogonal_columns_make_forward_exact(getkey):
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))
    penalty = gradient_penalty(lambda x: jnp.asarray(3 * q)[None] @ x, estimator="forward")
    actual = jax.jit(penalty)(jnp.ones(4), key=getkey())
    np.testing.assert_allclose(actual, [9 * 4], rtol=1e-12)


# Mean and variance


def test_exact_is_the_norm_of_the_jacobian(jacobian):
    fn = jax.tree_util.Partial(_network, _weights())
    actual = jax.jit(gradient_penalty(fn, estimator="exact"))(_normal(2, SIZE))
    np.testing.assert_allclose(actual, np.sum(jacobian**2, axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("estimator", RANDOM)
def test_mean_and_variance(getkey, jacobian, estimator):
    fn, x, samples = jax.tree_util.Partial(_network, _weights()), _normal(2, SIZE), 40_000

    @jax.jit
    @jax.vmap
    def estimates(key):
        return [gradient_penalty(fn, estimator=estimator, num_probes=n)(x, key=key) for n in (1, 4)]

    one, four = (np.asarray(x) for x in estimates(jr.split(getkey(), samples)))
    variance = _variance(estimator, jacobian)
    exact = np.sum(jacobian**2, axis=(1, 2))
    error = 6 * np.sqrt(variance / samples)
    assert np.all(error < 0.1 * exact)
    np.testing.assert_array_less(np.abs(one.mean(0) - exact), error)
    np.testing.assert_array_less(np.abs(four.mean(0) - exact), error / 2)
    # The relative standard error of a variance is sqrt((kurtosis - 1) / samples); the
    # kurtosis of these forms is below 30.
    np.testing.assert_allclose(one.var(0), variance, rtol=6 * math.sqrt(30 / samples))
    np.testing.assert_allclose(four.var(0), variance / 4, rtol=6 * math.sqrt(30 / samples))


@pytest.mark.parametrize("estimator", ["rowwise", "joint"])
def test_variance_of_the_sum_over_rows(getkey, jacobian, estimator):
    """`joint` adds to the noise of `rowwise` that of all pairs of rows."""
    fn, x, samples = jax.tree_util.Partial(_network, _weights()), _normal(2, SIZE), 20_000
    penalty = gradient_penalty(fn, estimator=estimator)
    sums = jax.jit(jax.vmap(lambda key: jnp.sum(penalty(x, key=key))))(jr.split(getkey(), samples))
    flat = jacobian.reshape(-1, SIZE)
    rowwise = np.sum(_variance("rowwise", jacobian))
    of_table = _quadratic_variance(flat @ flat.T)
    assert of_table > 1.5 * rowwise
    expected = of_table if estimator == "joint" else rowwise
    # As above, for a kurtosis below 30.
    np.testing.assert_allclose(np.var(sums), expected, rtol=6 * math.sqrt(30 / samples))


def test_rows_have_probes_of_their_own(getkey):
    weight = _normal(0, 1, CLASSES, SIZE)
    penalty = gradient_penalty(lambda x: jnp.tile(weight, (ROWS, 1, 1)) @ x)
    samples = jax.jit(jax.vmap(lambda key: penalty(jnp.ones(SIZE), key=key)))(
        jr.split(getkey(), 5000)
    )
    # Equal rows, so that equal probes would make the correlation 1.
    correlation = np.corrcoef(np.asarray(samples).T)
    assert np.all(np.abs(correlation[np.triu_indices(ROWS, 1)]) < 6 / math.sqrt(5000))


# Properties


@pytest.mark.parametrize("estimator", ["rowwise", "exact"])
def test_inputs_are_summed_also_in_trees(getkey, estimator):
    first, second = _normal(0, ROWS, CLASSES, 2), _normal(1, ROWS, CLASSES, 3)

    @jax.jit
    def penalties(x, y, key):
        def penalty(fn, *inputs):
            return gradient_penalty(fn, estimator=estimator)(*inputs, key=key)

        both = penalty(lambda x, y: first @ x + second @ y, x, y)
        tree = penalty(lambda z: first @ z["x"] + second @ z["y"], {"x": x, "y": y})
        one = penalty(lambda x: first @ x + second @ y, x)
        other = penalty(lambda y: first @ x + second @ y, y)
        return both, tree, one + other

    both, tree, separate = penalties(_normal(2, 2), _normal(3, 3), getkey())
    np.testing.assert_allclose(both, separate, rtol=1e-12)
    np.testing.assert_allclose(tree, separate, rtol=1e-12)


@jax.jit
def _turned_and_scaled(x, rotation, scale, key):
    """Penalties of a network, and of it after its input was rotated and stretched."""

    def penalties(fn, x):
        return [
            gradient_penalty(fn, estimator=e)(x, key=key) for e in ("rowwise", "joint", "exact")
        ]

    network = jax.tree_util.Partial(_network, _weights())
    plain = penalties(network, x)
    turned = penalties(lambda x: network(rotation @ x), rotation.T @ x)
    scaled = penalties(lambda x: network(scale * x), x / scale)
    return plain, turned, scaled


@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(1e-3, 1e3))
def test_rotation_keeps_the_penalty_and_scaling_squares(seed, scale):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x, rotation = rng.normal(size=SIZE), np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
        args = (jnp.asarray(x), jnp.asarray(rotation), jnp.asarray(scale), jr.key(seed))
        for plain, turned, scaled in zip(*_turned_and_scaled(*args), strict=True):
            # Absolute: probabilities sum to one, so that a constant probe gives zero.
            np.testing.assert_allclose(turned, plain, rtol=1e-8, atol=1e-14)
            np.testing.assert_allclose(scaled, plain * scale**2, rtol=1e-8, atol=1e-14 * scale**2)


# Under other transforms


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_vmap_and_scan_equal_one_by_one(getkey, estimator):
    penalty = gradient_penalty(jax.tree_util.Partial(_network, _weights()), estimator=estimator)
    xs, keys = _normal(2, 3, SIZE), jr.split(getkey(), 3)
    single = jax.jit(penalty)
    one_by_one = np.stack([single(x, key=key) for x, key in zip(xs, keys, strict=True)])
    batched = jax.jit(jax.vmap(lambda x, key: penalty(x, key=key)))(xs, keys)
    scanned = jax.jit(lambda xs: jax.lax.scan(lambda c, x: (c, penalty(x[0], key=x[1])), 0, xs)[1])
    # Absolute: probabilities sum to one, so that a constant probe gives zero up to rounding.
    np.testing.assert_allclose(batched, one_by_one, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(scanned((xs, keys)), one_by_one, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_by_parameters_and_input_equal_finite_differences(estimator):
    key = jr.key(0)

    @jax.jit
    def loss(weights, x):
        penalty = gradient_penalty(lambda x: _network(weights, x), estimator=estimator)
        return jnp.sum(penalty(x, key=key))

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
        assert abs(expected) > 1e-4
        np.testing.assert_allclose(np.sum(grad * direction), expected, rtol=1e-6)


# Half precision


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bfloat16_against_float64(estimator):
    """Over several inputs, with products in bfloat16 and the softmax in float32.

    A rounding is 2^-9 = 0.2 %; every number has passed about ten of them, and the small
    ones are differences of larger ones.
    """
    weights, xs = _weights(), _normal(2, 50, SIZE)

    def table(weights, x):
        hidden = jnp.tanh(weights[0] @ x)
        return jax.nn.softmax(at_least_float32(jnp.einsum("rch,h->rc", weights[1], hidden)))

    def penalties(weights, xs):
        fn = jax.tree_util.Partial(table, weights)
        penalty = gradient_penalty(fn, estimator=estimator)
        dtypes = jax.eval_shape(fn, xs[0]).dtype, xs.dtype

        def one(x, signs):
            rows, inputs = (s.astype(d)[None] for s, d in zip(signs, dtypes, strict=True))
            return penalty(x, probes=(inputs,) if estimator == "forward" else rows)

        return jax.jit(jax.vmap(one))(xs, signs)

    signs = (jnp.sign(_normal(3, 50, ROWS, CLASSES)), jnp.sign(_normal(4, 50, SIZE)))
    exact = penalties(weights, xs)
    rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (weights, xs))
    actual = penalties(*rounded)
    assert actual.dtype == jnp.float32
    error = np.linalg.norm(actual - exact) / np.linalg.norm(exact)
    assert error < 0.03
    np.testing.assert_allclose(actual.mean(), exact.mean(), rtol=0.01)


@pytest.mark.parametrize("estimator", ["rowwise", "forward", "exact"])
def test_squares_do_not_underflow_in_half_precision(getkey, estimator):
    fn = lambda x: jnp.float16(1e-5) * x[None]  # noqa: E731
    penalty = jax.jit(gradient_penalty(fn, estimator=estimator))
    # 1e-10 is below the smallest float16.
    np.testing.assert_allclose(penalty(jnp.ones(2, jnp.float16), key=getkey()), [2e-10], rtol=0.01)


# Errors


def test_what_cannot_be():
    with pytest.raises(ValueError, match="`num_probes` must be at least 1, got 0"):
        gradient_penalty(lambda x: x[None], num_probes=0)
    with pytest.raises(ValueError, match="`key` must be given"):
        gradient_penalty(lambda x: x[None])(jnp.ones(2))
