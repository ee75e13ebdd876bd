"""Normalised scores."""

import numpy as np
import pytest

from gpld.analysis.scores import (
    missing_ranges,
    normalised,
    normalised_name,
    optimality_gap,
    shared_range,
)
from gpld.envs.score_range import ScoreRange


def test_the_lowest_return_is_0_and_the_best_1():
    scores = {
        "probe_delayed": np.array([-1.0, 0.0, 0.5, 1.0]),
        "gymnasium:CartPole-v1": np.array([0.0, 125.0, 500.0]),
        "gymnasium:Pendulum-v1": np.array([-1200.0]),
    }
    own = normalised(scores)
    assert list(own) == ["probe_delayed", "gymnasium:CartPole-v1"]
    np.testing.assert_array_equal(own["probe_delayed"], [0, 0.5, 0.75, 1])
    np.testing.assert_array_equal(own["gymnasium:CartPole-v1"], [0, 0.25, 1])
    assert optimality_gap(own) == pytest.approx(((1 - 2.25 / 4) + (1 - 1.25 / 3)) / 2)


def test_returns_of_the_suite_are_divided_by_1000():
    returns = np.random.default_rng(0).uniform(0, 1000, (3, 50))
    own = normalised({"walker_run": returns})["walker_run"]
    np.testing.assert_array_equal(own, returns / 1000)


def test_names_and_ranges_of_several_tasks():
    assert shared_range(["walker_run", "hopper_hop"]) == ScoreRange(0, 1000)
    assert normalised_name(["walker_run", "hopper_hop"]) == "return / 1000"
    assert normalised_name(["probe_constant"]) == "return / 16"
    for tasks in (["walker_run", "probe_constant"], ["walker_run", "gymnasium:Pendulum-v1"]):
        assert shared_range(tasks) is None
        assert normalised_name(tasks) == "normalised return"
    assert shared_range(["probe_delayed"]) == ScoreRange(-1, 1)
    assert normalised_name(["probe_delayed"]) == "normalised return"


def test_tasks_that_are_left_out_are_named_once():
    assert missing_ranges(["walker_run", "probe_memory"]) is None
    line = missing_ranges(["b:f", "walker_run", "a:f", "b:f"])
    assert line is not None
    assert line.endswith("no lowest and best return is known: a:f, b:f.")
