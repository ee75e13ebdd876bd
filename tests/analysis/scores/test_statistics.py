"""Statistics of scores: known answers, properties, scipy and rliable."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from rliable import metrics

from gpld.analysis.scores import (
    interquartile_mean,
    mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

matrices = st.tuples(st.integers(1, 7), st.integers(1, 6)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(-2, 2, width=32))
)
# The same numbers in another order of summation: 42 terms of at most 2, in double precision.
SUMS = {"rtol": 1e-12, "atol": 1e-13}


def by_task(matrix):
    """Scores as we hold them, from a matrix of runs and tasks."""
    return {f"task{i}": matrix[:, i] for i in range(matrix.shape[1])}


def test_known_answers_with_different_numbers_of_runs():
    scores = {"a": np.array([0.0, 1.0]), "b": np.array([0.5, 0.5, 2.0, 3.0]), "c": np.array([0.3])}
    assert mean(scores) == pytest.approx((0.5 + 1.5 + 0.3) / 3)
    # 0, 0.3, 0.5, 0.5, 1, 2, 3: one run, a quarter of seven rounded down, goes at each end.
    assert interquartile_mean(scores) == pytest.approx((0.3 + 0.5 + 0.5 + 1 + 2) / 5)
    assert optimality_gap(scores) == pytest.approx(1 - (0.5 + 0.75 + 0.3) / 3)
    assert optimality_gap(scores, target=2.0) == pytest.approx(2 - (0.5 + 1.25 + 0.3) / 3)
    profile = performance_profile(scores, [-1.0, 0.0, 0.5, 3.0])
    np.testing.assert_allclose(profile, [1, 6 / 7, 3 / 7, 0])


def test_probability_of_improvement_counts_ties_as_half():
    ours = {"a": np.array([1.0, 2.0]), "b": np.array([5.0])}
    theirs = {"b": np.array([4.0, 6.0, 5.0]), "a": np.array([1.0])}
    # a: one tie and one win of two; b: a win, a loss and a tie of three.
    assert probability_of_improvement(ours, theirs) == pytest.approx((0.75 + 0.5) / 2)
    with pytest.raises(ValueError, match=r"`baseline` must have the tasks of `scores` \(a, b\)"):
        probability_of_improvement(ours, {"a": np.array([1.0])})


@given(matrices)
def test_rliable_and_scipy_agree(matrix):
    scores = by_task(matrix)
    np.testing.assert_allclose(mean(scores), metrics.aggregate_mean(matrix), **SUMS)
    np.testing.assert_allclose(interquartile_mean(scores), metrics.aggregate_iqm(matrix), **SUMS)
    gap = metrics.aggregate_optimality_gap(matrix)
    np.testing.assert_allclose(optimality_gap(scores), gap, **SUMS)
    trimmed = scipy.stats.trim_mean(matrix, 0.25, axis=None)
    np.testing.assert_allclose(interquartile_mean(scores), trimmed, **SUMS)


@given(matrices, st.randoms(use_true_random=False))
def test_orders_of_runs_and_units_do_not_matter(matrix, random):
    scores = by_task(matrix)
    order = list(range(len(matrix)))
    random.shuffle(order)
    for statistic in (mean, interquartile_mean):
        value = statistic(scores)
        np.testing.assert_allclose(statistic(by_task(matrix[order])), value, **SUMS)
        np.testing.assert_allclose(statistic(by_task(3 * matrix + 1)), 3 * value + 1, **SUMS)
        low, high = (f([runs.mean() for runs in scores.values()]) for f in (min, max))
        if statistic is not interquartile_mean:  # which can lie outside of the means of tasks
            assert low - 1e-12 <= value <= high + 1e-12
    assert matrix.min() - 1e-12 <= interquartile_mean(scores) <= matrix.max() + 1e-12


@given(matrices, st.integers(0, 2**32 - 1))
def test_probabilities_of_improvement_add_up_and_are_mann_and_whitneys(matrix, seed):
    # Few different numbers, so that there are ties.
    other = np.random.default_rng(seed).choice([-1.0, 0.0, 0.5], (5, matrix.shape[1]))
    matrix = np.round(2 * matrix) / 2
    ours, theirs = by_task(matrix), by_task(other)
    forth = probability_of_improvement(ours, theirs)
    assert forth + probability_of_improvement(theirs, ours) == pytest.approx(1)
    np.testing.assert_allclose(forth, metrics.probability_of_improvement(matrix, other), **SUMS)
    pairs = len(matrix) * len(other)
    u = [scipy.stats.mannwhitneyu(ours[task], theirs[task]).statistic for task in ours]
    np.testing.assert_allclose(forth, np.mean(u) / pairs, **SUMS)


@given(matrices)
def test_profiles_fall_from_everybody_to_nobody(matrix):
    profile = performance_profile(by_task(matrix), np.linspace(-2.5, 2.5, 21))
    assert profile[0] == 1
    assert profile[-1] == 0
    assert np.all(np.diff(profile) <= 0)
    # The area under it, above a lower bound, is the mean.
    fine = np.linspace(-2.5, 2.5, 20_001)
    area = np.trapezoid(performance_profile(by_task(matrix), fine), fine) - 2.5
    np.testing.assert_allclose(area, matrix.mean(), atol=5 / 20_000)


def test_leading_axes_are_those_of_resamples():
    rng = np.random.default_rng(0)
    scores = {task: rng.normal(size=(3, runs)) for task, runs in (("a", 4), ("b", 6))}
    for statistic in (mean, interquartile_mean, optimality_gap):
        each = [statistic({task: runs[i] for task, runs in scores.items()}) for i in range(3)]
        np.testing.assert_array_equal(statistic(scores), each)
    profile = performance_profile(scores, [0.0, 0.5])
    assert profile.shape == (3, 2)
    each = [probability_of_improvement({"a": a}, {"a": scores["b"][0]}) for a in scores["a"]]
    both = probability_of_improvement({"a": scores["a"]}, {"a": scores["b"][:1]})
    np.testing.assert_array_equal(both, each)
