"""Bootstrap intervals: agreement with rliable, coverage, reproducible draws."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from numpy.random import RandomState
from rliable import library, metrics

from gpld.analysis.scores import (
    RELATIVE,
    interquartile_mean,
    mean,
    means,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)

# arch is called by rliable in a way that it will give up.
pytestmark = pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")


def draws(runs, tasks, seed=0):
    return np.random.default_rng(seed).beta(2, 1.5, (runs, tasks))


def by_task(matrix):
    return {f"task{i}": matrix[:, i] for i in range(matrix.shape[1])}


RESAMPLES = 2000
STATISTICS = {
    "mean": (mean, metrics.aggregate_mean),
    "iqm": (interquartile_mean, metrics.aggregate_iqm),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_are_those_of_rliable(name):
    ours, theirs = STATISTICS[name]
    matrix = draws(5, 6)
    interval = stratified_bootstrap(ours, by_task(matrix), resamples=RESAMPLES)
    point, ends = library.get_interval_estimates(
        {"x": matrix},
        lambda x: np.array([theirs(x)]),
        reps=RESAMPLES,
        random_state=RandomState(1),
    )
    assert interval.estimate == pytest.approx(point["x"][0], abs=1e-12)
    within(interval, ends["x"][:, 0])


def test_intervals_of_two_arms_are_those_of_rliable():
    matrix, other = draws(5, 2), draws(6, 2, seed=1)
    resamples = 500  # scipy's test for each of them and each task
    interval = stratified_bootstrap(
        probability_of_improvement, by_task(matrix), by_task(other), resamples=RESAMPLES
    )
    point, ends = library.get_interval_estimates(
        {"x": (matrix, other)},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=resamples,
        random_state=RandomState(1),
    )
    assert interval.estimate == pytest.approx(point["x"][0], abs=1e-12)
    within(interval, ends["x"][:, 0], resamples)


def within(interval, ends, resamples=RESAMPLES):
    """Both bootstraps have a Monte Carlo error at each end.

    That of a quantile p of n draws is sqrt(p (1 - p) / n) over the density there; a normal
    distribution with the interval's width has it. Allowed are five for the one with fewer
    draws, and the difference has two of them.
    """
    std = (interval.high - interval.low) / (2 * 1.96)
    error = np.sqrt(0.025 * 0.975 / resamples) / (scipy.stats.norm.pdf(1.96) / std)
    np.testing.assert_allclose([interval.low, interval.high], ends, atol=5 * np.sqrt(2) * error)


def test_coverage_is_what_theory_says():
    """95 % intervals of means of normal scores, over 600 experiments.

    The bootstrap's variance is too small by (n - 1) / n, so with n runs of three tasks it
    covers |t| < 1.96 sqrt((n - 1) / n), where t has about 3 (n - 1) degrees of freedom.
    """
    runs, tasks, experiments = 8, 3, 600
    rng = np.random.default_rng(0)
    truth = np.arange(tasks)
    covered = 0
    for experiment in range(experiments):
        scores = by_task(truth + rng.normal(size=(runs, tasks)))
        _, low, high = stratified_bootstrap(mean, scores, resamples=400, seed=experiment)
        covered += low <= truth.mean() <= high
    limit = 1.96 * np.sqrt((runs - 1) / runs)
    expected = 1 - 2 * scipy.stats.t.sf(limit, tasks * (runs - 1))  # 92.2 %
    # Four standard deviations of the count, and 1 % for the quantiles of 400 resamples.
    error = 4 * np.sqrt(expected * (1 - expected) / experiments) + 0.01
    assert abs(covered / experiments - expected) < error


SCORES = Path(__file__).parents[3] / "docs" / "understand" / "scores.md"
POWER = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \|$", SCORES.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("tasks", "runs", "difference"), POWER)
def test_differences_that_are_shown_in_most_comparisons(tasks, runs, difference):
    """Those that the page names are shown in 80 % of comparisons, over 200 of them."""
    shape, experiments, shown = (int(runs), int(tasks)), 200, 0
    rng = np.random.default_rng(1)
    for experiment in range(experiments):
        ours = by_task(float(difference) + rng.normal(size=shape))
        theirs = by_task(rng.normal(size=shape))
        chance = stratified_bootstrap(
            probability_of_improvement, ours, theirs, resamples=400, seed=experiment
        )
        shown += chance.low > 0.5
    # Three standard deviations of the count, and 1 % for the quantiles of 400 resamples.
    error = 3 * np.sqrt(0.8 * 0.2 / experiments) + 0.01
    assert shown / experiments == pytest.approx(0.8, abs=error)


def test_the_page_names_differences():
    assert len(POWER) == 6


def test_other_statistics_and_several_numbers_at_once():
    ours, theirs = by_task(draws(5, 4) + 0.2), by_task(draws(5, 4, seed=1) + 0.2)
    thresholds = [0.3, 0.6, 0.9]
    profile = stratified_bootstrap(
        lambda scores: performance_profile(scores, thresholds), ours, resamples=300
    )
    assert profile.low.shape == profile.high.shape == (3,)
    assert np.all(profile.low <= profile.estimate)
    assert np.all(profile.estimate <= profile.high)
    for aggregate in RELATIVE.values():
        interval = stratified_bootstrap(
            lambda x, y, aggregate=aggregate: aggregate(means(x), means(y)),
            ours,
            theirs,
            resamples=300,
        )
        assert interval.low < interval.estimate < interval.high


def test_draws_depend_on_the_seed_alone(monkeypatch):
    scores = by_task(draws(5, 4))
    once = stratified_bootstrap(mean, scores, resamples=100, seed=3)
    assert once == stratified_bootstrap(mean, scores, resamples=100, seed=3)
    assert once != stratified_bootstrap(mean, scores, resamples=100, seed=4)
    # In blocks the draws are others, and the interval the same but for its error.
    monkeypatch.setattr("gpld.analysis.scores.bootstrap._MOST_NUMBERS", 5 * 700)
    blocks = stratified_bootstrap(mean, scores, resamples=RESAMPLES)
    monkeypatch.undo()
    within(stratified_bootstrap(mean, scores, resamples=RESAMPLES), blocks[1:])


@pytest.mark.parametrize("others", [1, 3])
def test_a_single_run_of_a_task_has_no_interval(others):
    interval = stratified_bootstrap(mean, {"a": np.array([0.3]), "b": np.full(others, 0.7)})
    assert interval.estimate == pytest.approx(0.5)
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    curves = stratified_bootstrap(mean, {"a": np.array([[0.3], [0.4]])})
    np.testing.assert_array_equal(curves.low, [np.nan, np.nan])


def test_bad_arguments():
    with pytest.raises(ValueError, match="`resamples` must be at least 1, got 0"):
        stratified_bootstrap(mean, by_task(draws(2, 2)), resamples=0)
    with pytest.raises(ValueError, match="got none of task0"):
        stratified_bootstrap(mean, {"task0": np.zeros(0)})
