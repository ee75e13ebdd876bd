"""Aggregates of ratios: the paper's own come out of its own tables."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gpld.analysis.published import (
    paper_table1,
    paper_table3,
    published_curves,
    random_return,
)
from gpld.analysis.scores import RELATIVE, means, ratios
from gpld.suite import TASKS

SHARED = Path(__file__).parents[4] / "shared" / "data"
PUBLISHED = Path(__file__).parents[3] / "gpld" / "analysis" / "published"

# Gains in percent, as recomputed for the specification (section 14.5).
TABLE3 = {
    "mean of ratios (the paper's)": 17.7,
    "without the largest ratio": 10.4,
    "geometric mean of ratios": 14.7,
    "median of ratios": 7.3,
    "interquartile mean of ratios": 7.9,
    "ratio of means": 7.3,
}
TABLE1 = {
    "mean of ratios (the paper's)": 34.6,
    "without the largest ratio": 13.3,
    "geometric mean of ratios": 27.9,
    "ratio of means": 13.6,
}


def gains(ours, theirs, expected):
    return {name: round(100 * (float(RELATIVE[name](ours, theirs)) - 1), 1) for name in expected}


def test_the_papers_aggregates_come_out_of_its_tables():
    table3 = {
        method: {task: score.mean for task, score in tasks.items()}
        for method, tasks in paper_table3().items()
    }
    assert len(table3["GPLD"]) == 18
    assert gains(table3["GPLD"], table3["DreamerV3"], TABLE3) == TABLE3
    improved = [ratio > 1 for ratio in ratios(table3["GPLD"], table3["DreamerV3"]).values()]
    assert sum(improved) == 17
    table1 = paper_table1()
    assert len(table1["GPLD"]) == 6
    assert gains(table1["GPLD"], table1["DreamerV3"], TABLE1) == TABLE1


@pytest.mark.skipif(not SHARED.exists(), reason="the published tables are not beside the checkout")
@pytest.mark.parametrize(
    "path",
    sorted({*PUBLISHED.glob("*.csv")} - {PUBLISHED / "random_actions.csv"}),  # measured here
    ids=lambda path: path.stem,
)
def test_our_copies_are_those_that_everything_is_held_against(path):
    with (SHARED / path.name).open() as theirs, path.open() as ours:
        assert list(csv.DictReader(ours)) == list(csv.DictReader(theirs))


def test_every_task_of_the_paper_has_published_curves():
    for task, score in paper_table3()["DreamerV3"].items():
        curves = {curve.label: curve for curve in published_curves(task)}
        if task == "acrobot_swingup_sparse":  # only the paper has it
            assert curves == {}
            continue
        official = curves["DreamerV3, official"]
        assert official.frames[-1] == 490_000
        assert official.seeds == 5
        assert np.all(np.diff(official.frames) > 0)
        assert 0 <= score.mean <= 1000
        assert curves["TD-MPC2"].frames[-1] == 4_000_000
    assert [curve.seeds for curve in published_curves("walker_run", pixels=True)] == [10]
    assert published_curves("toy_task") == []


def test_random_returns_are_known_for_every_task_of_the_suite():
    returns = {task: random_return(task) for task in TASKS}
    assert all(score is not None and 0 <= score < 500 for score in returns.values()), returns
    assert random_return("probe_memory") is None


scores = st.dictionaries(st.sampled_from("abcdef"), st.floats(1, 1000), min_size=1)


@given(scores, st.floats(0.5, 2), st.randoms(use_true_random=False))
def test_properties_of_aggregates(baseline, factor, random):
    ours = {task: factor * score for task, score in baseline.items()}
    for name, aggregate in RELATIVE.items():
        if len(baseline) > 1 or name != "without the largest ratio":
            assert aggregate(ours, baseline) == pytest.approx(factor)
    random_scores = {task: random.uniform(1, 1000) for task in baseline}
    forth, back = ((random_scores, baseline), (baseline, random_scores))
    geometric = RELATIVE["geometric mean of ratios"]
    assert geometric(*forth) * geometric(*back) == pytest.approx(1)
    mean = RELATIVE["mean of ratios (the paper's)"]
    assert mean(*forth) >= geometric(*forth) * (1 - 1e-12)
    if len(baseline) > 1:
        assert RELATIVE["without the largest ratio"](*forth) <= mean(*forth) * (1 + 1e-12)


def test_a_baseline_of_nothing_is_not_hidden():
    ours, nothing = {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}
    with np.errstate(all="raise"):
        assert ratios(ours, nothing)["a"] == np.inf
        assert np.isnan(ratios(ours, nothing)["b"])
        assert not any(np.isfinite(f(ours, nothing)) for f in RELATIVE.values())
    assert np.isnan(RELATIVE["without the largest ratio"]({"a": 2.0}, {"a": 1.0}))
    with pytest.raises(ValueError, match="`baseline` must have the tasks"):
        ratios(ours, {"a": 1.0})


def test_means_are_over_runs():
    assert means({"a": np.array([1.0, 3.0])}) == {"a": 2.0}
