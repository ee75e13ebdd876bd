"""Coefficient schedules at points computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpld.config import Config, ScheduleConfig
from gpld.losses import make_schedule, piecewise


def _values(initial, config, updates, updates_per_env_step=0.5):
    schedule = jax.jit(make_schedule(initial, config, updates_per_env_step))
    return [float(schedule(jnp.asarray(n, jnp.int32))) for n in updates]


def test_the_papers_schedule():
    updates = (0, 1000, 24_000, 124_000, 249_000, 499_000, 999_000)
    values = _values(0.5, ScheduleConfig(), updates)
    expected = [0.5, 0.35355, 0.1, 0.044721, 0.031623, 0.022361, 0.015811]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_the_papers_minimum_binds_after_250_million_updates():
    values = _values(0.5, ScheduleConfig(), (240_000_000, 249_999_000, 2_000_000_000))
    assert values[0] > 0.001
    np.testing.assert_allclose(values[1:], 0.001, rtol=1e-5)


def test_the_authors_minimum_binds_from_update_24000():
    values = _values(0.5, ScheduleConfig(minimum=0.1), (23_000, 24_000, 24_001, 200_000))
    assert values[0] > 0.1
    np.testing.assert_allclose(values[1:], 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "points"),
    [
        (ScheduleConfig("none", minimum=0.7), {0: 0.5, 10**6: 0.5}),
        (
            ScheduleConfig("linear", minimum=0.1, decay=100),
            {0: 0.5, 25: 0.4, 100: 0.1, 10**6: 0.1},
        ),
        (
            ScheduleConfig("exponential", minimum=0.1, decay=100),
            {0: 0.5, 20: 0.1 + 0.4 * np.exp(-1), 100: 0.1 + 0.4 * np.exp(-5), 900: 0.10269518},
        ),
        (
            ScheduleConfig("cosine", minimum=0.1, decay=100),
            {0: 0.5, 50: 0.3, 25: 0.1 + 0.2 * (1 + np.sqrt(0.5)), 100: 0.1, 10**6: 0.1},
        ),
        (
            ScheduleConfig("step", minimum=0.1, interval=10, factor=0.5),
            {0: 0.5, 9: 0.5, 10: 0.25, 19: 0.25, 20: 0.125, 30: 0.1, 10**6: 0.1},
        ),
        (
            ScheduleConfig("piecewise", minimum=0.1, boundaries=(5, 10), values=(0.9, 0.05)),
            {0: 0.5, 4: 0.5, 5: 0.9, 9: 0.9, 10: 0.1, 10**6: 0.1},
        ),
    ],
    ids=lambda x: x.kind if isinstance(x, ScheduleConfig) else "",
)
def test_kinds(config, points):
    np.testing.assert_allclose(_values(0.5, config, points), list(points.values()), rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        ScheduleConfig("sqrt", minimum=0.7),
        ScheduleConfig("step", minimum=0.7),
        ScheduleConfig("piecewise", minimum=0.7, boundaries=(5,), values=(0.2,)),
    ],
    ids=lambda x: x.kind,
)
def test_a_minimum_above_the_initial_value_raises_it(config):
    np.testing.assert_allclose(_values(0.5, config, (0, 1000)), 0.7, rtol=1e-6)


def test_the_start_is_given_in_env_steps_and_restarts_the_count():
    # 200,000 env steps are 100,000 updates at half an update per env step.
    updates = (0, 99_999, 100_000, 101_000, 124_000)
    values = _values(0.5, ScheduleConfig(start=200_000), updates)
    np.testing.assert_allclose(values, [0, 0, 0.5, 0.5 / np.sqrt(2), 0.1], rtol=1e-5)
    at_one = _values(0.5, ScheduleConfig(start=10), (9, 10), updates_per_env_step=1.0)
    np.testing.assert_allclose(at_one, [0, 0.5], rtol=1e-6)
    assert Config().replay.updates_per_env_step == 0.5


def test_a_piecewise_schedule_has_a_value_for_each_boundary():
    with pytest.raises(ValueError, match="each of the 2 `boundaries`, got 1"):
        piecewise(0.5, (1, 2), (0.1,))
