"""Smooth tables by hand, their fit at its optimum, and the limits that lead to GPLD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular

pytestmark = pytest.mark.slow

double = pytest.mark.usefixtures("x64")


def _table(seed, states=4, actions=2):
    return jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(states), (states, actions)))


def _weights(states=4, dim=3):
    return tabular.neighbours(jnp.asarray(np.random.default_rng(9).normal(size=(states, dim))), 3.0)


# The example.


def test_actions_drift_along_their_angles():
    mdp = tabular.smooth_mdp(3, 4, drift=0.5, spread=0.05)
    np.testing.assert_array_equal(mdp.embedding[:4], [[0, 0], [0, 0.5], [0, 1], [0.5, 0]])
    # From the middle, half a side along +x, +y, -x, -y; nine standard deviations to the next.
    np.testing.assert_array_equal(np.argmax(mdp.transition[4], axis=1), [7, 5, 1, 3])
    np.testing.assert_allclose(np.max(mdp.transition[4], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.sum(mdp.transition, axis=2), 1, rtol=1e-6)


def test_drift_by_hand():
    embedding = jnp.array([[0.0], [1.0], [3.0]])
    actual = tabular.gaussian_drift(jnp.array([0.5]), jnp.array([0.5]), embedding, 2.0)
    weights = np.exp([-1 / 8, 0, -4 / 8])  # squared distances to 1 over 2 * 2^2
    np.testing.assert_allclose(actual, weights / weights.sum(), rtol=1e-6)


def test_counts_follow_the_probabilities(getkey):
    probs, visits = _table(0), 10_000
    sample = jax.jit(lambda key: tabular.sample_counts(probs, visits, key=key))
    counts = np.asarray(sample(getkey()))
    np.testing.assert_array_equal(counts.sum(axis=2), visits)
    np.testing.assert_array_equal(counts, np.round(counts))
    probs = np.asarray(probs)
    assert np.all(np.abs(counts / visits - probs) < 6 * np.sqrt(probs * (1 - probs) / visits))


# The regulariser, eq. 1.


def test_neighbours_by_hand():
    actual = tabular.neighbours(jnp.array([[0.0], [1.0], [3.0]]), 2.0)
    np.testing.assert_allclose(actual, [[0, 1, 0], [1, 0, 0.25], [0, 0.25, 0]], rtol=1e-6)
    actual = tabular.neighbours(jnp.array([[0.0, 0.0], [3.0, 4.0]]), jnp.inf)
    np.testing.assert_allclose(actual, [[0, 0.04], [0.04, 0]], rtol=1e-6)


def test_regulariser_by_hand():
    weights = tabular.neighbours(jnp.array([[0.0], [1.0], [3.0]]), 2.0)
    rows = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    # (1 + 1) / 1^2 between the first two and (1/4 + 1/4) / 2^2 between the last two, twice;
    # a second action with equal rows adds nothing.
    table = jnp.stack([rows, jnp.full((3, 3), 1 / 3)], axis=1)
    np.testing.assert_allclose(
        tabular.finite_difference_penalty(table, weights), 2 * (2 + 0.125), rtol=1e-6
    )


@double
def test_regulariser_is_every_difference_from_either_side():
    embedding, table = np.random.default_rng(0).normal(size=(4, 3)), np.asarray(_table(1))
    distance = np.linalg.norm(embedding[:, None] - embedding, axis=2)
    radius = np.median(distance[distance > 0]) + 1e-9
    expected = sum(
        ((table[k, a, n] - table[s, a, n]) / distance[s, k]) ** 2
        for a in range(2)
        for s in range(4)
        for k in range(4)
        for n in range(4)
        if k != s and distance[s, k] <= radius
    )
    weights = tabular.neighbours(jnp.asarray(embedding), float(radius))
    assert 0 < np.sum(np.asarray(weights) > 0) < 12
    np.testing.assert_array_equal(weights, weights.T)
    actual = tabular.finite_difference_penalty(jnp.asarray(table), weights)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@double
def test_scaling_the_embedding_divides_by_its_square():
    embedding, table = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]), _table(0, 3)
    penalty = lambda scale: tabular.finite_difference_penalty(  # noqa: E731
        table, tabular.neighbours(scale * embedding, scale * 3.1)
    )
    np.testing.assert_allclose(penalty(10.0), penalty(1.0) / 100, rtol=1e-12)


@double
def test_gradient_equals_finite_differences():
    table, weights, step = _table(0), _weights(), 1e-4
    penalty = jax.jit(tabular.finite_difference_penalty)
    grad = jax.jit(jax.grad(penalty))(table, weights)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=table.shape))
    moved = [penalty(table + sign * step * direction, weights) for sign in (1, -1)]
    # A quadratic function: rounding is the only error.
    np.testing.assert_allclose(
        jnp.sum(grad * direction), (moved[0] - moved[1]) / (2 * step), rtol=1e-9
    )


def test_likelihood_by_hand():
    counts = jnp.array([[[2.0, 0.0]], [[1.0, 3.0]]])
    table = jnp.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    value, grad = jax.value_and_grad(tabular.negative_log_likelihood)(table, counts)
    np.testing.assert_allclose(value, 4 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(grad, [[[-2, 0]], [[-2, -6]]], rtol=1e-6)


# The fit.


def test_without_a_coefficient_the_fit_is_the_frequencies():
    counts = jnp.array([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 5.0], [0.5, 0.0]]])
    estimate = tabular.fit(counts, jnp.ones((2, 2)), 0)
    expected = [[[0.25, 0.75], [0.5, 0.5]], [[0, 1], [1, 0]]]
    np.testing.assert_array_equal(estimate.transition, expected)
    assert estimate.gap == 0


# Three states on a line, of which only the first two, or all, are neighbours.
def _pair():
    return tabular.neighbours(jnp.array([[0.0], [1.0], [9.0]]), 1.5)


def _line():
    return tabular.neighbours(jnp.array([[0.0], [1.0], [2.0]]), 1.5)


@double
def test_fit_of_two_neighbours_and_an_isolated_state_by_hand():
    # The first two rows mirror each other, and -2 (3 ln p + ln(1 - p)) + lambda 4 (2p - 1)^2
    # has the derivative -10 + 5 + 3.2 lambda at p = 0.6. Nobody was seen in the last state.
    counts = jnp.array([[[3.0, 1.0, 0.0]], [[1.0, 3.0, 0.0]], [[0.0, 0.0, 0.0]]])
    estimate = tabular.fit(counts, _pair(), 25 / 16, tolerance=1e-9)
    expected = [[0.6, 0.4, 0], [0.4, 0.6, 0], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(estimate.transition[:, 0], expected, atol=1e-6)
    assert abs(estimate.gap) <= 1e-9


@double
def test_without_any_visits_the_fit_is_uniform():
    estimate = tabular.fit(jnp.zeros((3, 1, 3)), _line(), 0.5)
    np.testing.assert_allclose(estimate.transition, 1 / 3, rtol=1e-12)


@double
def test_unvisited_pairs_follow_their_neighbours_and_unseen_states_vanish():
    counts = jnp.array([[[6.0, 2.0, 0.0]], [[0.0, 0.0, 0.0]], [[1.0, 7.0, 0.0]]])
    estimate = tabular.fit(counts, _line(), 0.5, tolerance=1e-9)
    first, middle, last = np.asarray(estimate.transition[:, 0])
    np.testing.assert_allclose(middle, (first + last) / 2, atol=1e-6)
    assert 1 / 8 < last[0] < middle[0] < first[0] < 6 / 8
    np.testing.assert_allclose([first[2], middle[2], last[2]], 0, atol=1e-6)


@double
def test_a_large_coefficient_pools_the_frequencies_of_connected_states():
    counts = jnp.array([[[6.0, 2.0, 0.0]], [[4.0, 0.0, 4.0]], [[1.0, 7.0, 0.0]]])
    table = tabular.fit(counts, _line(), 1e4, tolerance=1e-9).transition
    # What is left of the differences is of the order of counts / coefficient.
    np.testing.assert_allclose(table[:, 0], np.tile([11 / 24, 9 / 24, 4 / 24], (3, 1)), atol=1e-3)


def _example():
    """Sixteen states with two actions; the neighbours are those next to and diagonal."""
    mdp = tabular.smooth_mdp(4, 2, drift=0.2, spread=0.3)
    return mdp, tabular.neighbours(mdp.embedding, 0.5)


def _counts(mdp, visits, sets):
    """Independent sets of counts."""
    probs = np.asarray(mdp.transition, np.float64)
    probs = probs / probs.sum(axis=2, keepdims=True)
    counts = np.random.default_rng(0).multinomial(visits, probs, (sets, *probs.shape[:2]))
    return jnp.asarray(counts, mdp.transition.dtype)


@double
def test_nothing_lies_below_the_fit():
    mdp, weights = _example()
    (counts,) = _counts(mdp, 4, sets=1)
    table, gap = tabular.fit(counts, weights, 0.3, tolerance=1e-8)
    assert gap <= 1e-8
    assert np.all(np.asarray(table) >= 0)
    np.testing.assert_allclose(jnp.sum(table, axis=2), 1, rtol=1e-12)

    @jax.jit
    def excess_and_bound(other):
        args = (counts, weights, 0.3)
        excess = tabular.objective(other, *args) - tabular.objective(table, *args)
        return excess, tabular.optimality_gap(other, *args)

    total = np.sum(counts)
    assert excess_and_bound(table)[1] <= 1.01e-8 * total
    frequencies = tabular.maximum_likelihood(counts)
    assert excess_and_bound(frequencies)[0] > 1
    for share in (1e-4, 1e-2, 1.0):
        for other in (mdp.transition, frequencies, *(_table(i, 16) for i in range(3))):
            excess, bound = excess_and_bound((1 - share) * table + share * other)
            assert -1e-8 * total < excess < bound + 1e-8 * total


def test_smoothing_helps_where_data_are_scarce_and_fades_where_they_are_not():
    """In single precision and batched, where every fit must still stop by itself."""
    mdp, weights = _example()

    @jax.jit
    @jax.vmap
    def error(table):
        return tabular.estimation_error(table, mdp.transition)

    def mean_error(visits, coefficient):
        fit = jax.vmap(lambda counts: tabular.fit(counts, weights, coefficient))
        tables, gaps = fit(_counts(mdp, visits, sets=8))
        assert np.all(np.asarray(gaps) <= 1e-4)
        return np.mean(error(tables))

    frequencies, smooth, flat = (mean_error(5, coefficient) for coefficient in (0.0, 0.5, 10.0))
    assert smooth < 0.7 * frequencies
    assert smooth < 0.8 * flat
    frequencies, smooth = (mean_error(10_000, coefficient) for coefficient in (0.0, 0.5))
    assert frequencies < 0.02
    np.testing.assert_allclose(smooth, frequencies, rtol=0.02)


def test_error_by_hand():
    estimate = jnp.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    truth = jnp.array([[[0.0, 1.0]], [[0.25, 0.75]]])
    np.testing.assert_allclose(tabular.estimation_error(estimate, truth), (1 + 0.25) / 2)


# The limits, eqs. 2 to 4.


def _smooth(dim=2):
    """A function from points to the probabilities of seven states, and a point."""
    rng = np.random.default_rng(3)
    embedding, drift, x = (jnp.asarray(rng.normal(size=size)) for size in ((7, dim), dim, dim))
    return lambda x: tabular.gaussian_drift(x, drift, embedding, 0.8), x


@double
def test_regulariser_sums_difference_quotients_of_the_dynamics():
    mdp, weights = _example()
    from_state, to_state = np.nonzero(weights)
    x, y = mdp.embedding[from_state], mdp.embedding[to_state]
    h = jnp.linalg.norm(y - x, axis=1)

    @jax.jit
    @jax.vmap
    def summand(x, direction, h):
        def of_action(drift):
            fn = lambda x: tabular.gaussian_drift(x, drift, mdp.embedding, 0.3)  # noqa: E731
            return tabular.directional_difference(fn, x, direction, h)

        return of_action(jnp.array([0.2, 0.0])) + of_action(jnp.array([-0.2, 0.0]))

    expected = jnp.sum(summand(x, (y - x) / h[:, None], h))
    actual = tabular.finite_difference_penalty(mdp.transition, weights)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


@double
def test_difference_quotients_tend_to_the_derivative_in_first_order():
    (fn, x), u = _smooth(), jnp.array([0.6, 0.8])
    limit = np.sum(np.square(jax.jit(jax.jacfwd(fn))(x) @ u))
    np.testing.assert_allclose(tabular.directional_derivative(fn, x, u), limit, rtol=1e-12)
    steps = 2.0 ** -np.arange(8, 16)
    quotient = lambda h: tabular.directional_difference(fn, x, u, h)  # noqa: E731
    errors = np.asarray(jax.jit(jax.vmap(quotient))(jnp.asarray(steps))) - limit
    np.testing.assert_allclose(errors[:-1] / errors[1:], 2, rtol=0.01)
    assert abs(errors[-1]) < 1e-4 * limit


@double
def test_directions_average_to_the_jacobian_norm(getkey):
    dim, num = 4, 20_000
    fn, x = _smooth(dim)
    directions = tabular.unit_directions(num, dim, key=getkey())
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=1), 1, rtol=1e-12)
    along = jax.jit(jax.vmap(lambda u: tabular.directional_derivative(fn, x, u)))(directions)
    expected = np.sum(np.square(jax.jit(jax.jacfwd(fn))(x))) / dim
    error = np.std(along) / np.sqrt(num)
    assert error < 0.02 * expected
    assert abs(np.mean(along) - expected) < 6 * error


# Mistakes.


@pytest.mark.parametrize(
    ("embedding", "radius", "message"),
    [
        (jnp.zeros(3), 1.0, r"`embedding` must have shape \[states, dim\], got \(3,\)"),
        (jnp.array([[0.0], [jnp.nan]]), 1.0, "`embedding` must be finite, got"),
        (jnp.array([[0.0], [1.0]]), 0.0, "`radius` must be positive, got 0.0"),
        (jnp.array([[0.0], [1.0]]), float("nan"), "`radius` must be positive, got nan"),
        (
            jnp.array([[1.0], [0.0], [1.0]]),
            0.5,
            "`embedding` .* distances above 0 .* got equal ones for the states 0 and 2",
        ),
    ],
)
def test_neighbours_rejects(embedding, radius, message):
    with pytest.raises(ValueError, match=message):
        tabular.neighbours(embedding, radius)


@pytest.mark.parametrize(
    ("counts", "weights", "coefficient", "message"),
    [
        ((3, 2), (3, 3), 1.0, r"`counts` .*\[states, actions, states\], got \(3, 2\)"),
        ((3, 2, 4), (3, 3), 1.0, r"`counts` .*\[states, actions, states\], got \(3, 2, 4\)"),
        ((3, 2, 3), (3, 1), 1.0, r"`weights` must have shape \(3, 3\), got \(3, 1\)"),
        ((3, 2, 3), (3, 3), -0.1, r"`coefficient` must lie in \[0, inf\), got -0.1"),
        ((3, 2, 3), (3, 3), float("inf"), r"`coefficient` must lie in \[0, inf\), got inf"),
    ],
)
def test_fit_rejects(counts, weights, coefficient, message):
    with pytest.raises(ValueError, match=message):
        tabular.fit(jnp.ones(counts), jnp.ones(weights), coefficient)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 1}, "`side` must be at least 2, got 1"),
        ({"num_actions": 0}, "`num_actions` must be at least 1, got 0"),
        ({"spread": 0.0}, "`spread` must be positive, got 0.0"),
    ],
)
def test_smooth_mdp_rejects(change, message):
    settings = {"side": 3, "num_actions": 2, "drift": 0.2, "spread": 0.3} | change
    with pytest.raises(ValueError, match=message):
        tabular.smooth_mdp(**settings)
