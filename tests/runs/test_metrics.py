"""Means on the device, scores of episodes, and where the time goes."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpld.envs import TimeStep
from gpld.runs.metrics import EpisodeEnd, EpisodeTracker, MeanMetrics, Stopwatch


def test_mean_metrics_are_means_since_the_last_call():
    metrics = MeanMetrics()
    assert metrics.pop() == {}
    for loss in (1.0, 2.0, 6.0):
        metrics.add({"loss": jnp.float32(loss), "rate": jnp.float32(-loss)})
    assert metrics.pop() == {"loss": 3.0, "rate": -3.0}
    metrics.add({"loss": jnp.float32(5.0)})
    assert metrics.pop() == {"loss": 5.0}
    assert metrics.pop() == {}


def test_mean_metrics_do_not_wait_for_the_device():
    metrics = MeanMetrics()
    metrics.add({"x": jnp.float32(0)})
    with jax.transfer_guard_device_to_host("disallow"):
        metrics.add({"x": jnp.float32(1)})
    assert metrics.pop() == {"x": 0.5}


def _step(rewards, first=(), last=()):
    index = np.arange(len(rewards))
    return TimeStep(
        observation={},
        reward=np.array(rewards, np.float32),
        is_first=np.isin(index, first),
        is_last=np.isin(index, last),
        is_terminal=np.zeros(len(rewards), bool),
    )


def test_episode_scores_across_resets():
    tracker = EpisodeTracker(2)
    assert tracker.add(_step([0, 0], first=[0, 1])) == []
    assert tracker.add(_step([1, 10])) == []
    # Three time steps, the reset included.
    assert tracker.add(_step([2, 20], last=[0])) == [EpisodeEnd(0, 3.0, 3)]
    assert tracker.add(_step([0, 30], first=[0])) == []
    ends = tracker.add(_step([5, 40], last=[0, 1]))
    assert ends == [EpisodeEnd(0, 5.0, 2), EpisodeEnd(1, 100.0, 5)]


def test_scores_are_summed_in_double_precision():
    tracker, rewards = EpisodeTracker(1), np.float32(0.1) * np.ones(1000, np.float32)
    tracker.add(_step([0], first=[0]))
    for reward in rewards[:-1]:
        tracker.add(_step([reward]))
    (end,) = tracker.add(_step([rewards[-1]], last=[0]))
    exact = 1000 * float(np.float32(0.1))
    assert end.score == pytest.approx(exact, rel=1e-12)
    total = np.float32(0)
    for reward in rewards:
        total += reward
    assert float(total) != pytest.approx(exact, rel=1e-6)  # as single precision would give


def test_stopwatch_adds_up_parts(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    stopwatch = Stopwatch()
    for part, seconds in (("act", 1.0), ("update", 5.0), ("act", 2.0)):
        with stopwatch(part):
            now += seconds
        now += 0.5  # in no part
    assert stopwatch.read() == (9.5, {"act": 3.0, "update": 5.0})
    stopwatch.reset()
    now += 4.0
    assert stopwatch.read() == (4.0, {})


def test_stopwatch_counts_a_part_that_fails(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    stopwatch = Stopwatch()

    def fail():
        nonlocal now
        with stopwatch("act"):
            now += 2.0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert stopwatch.read() == (2.0, {"act": 2.0})
