"""Coefficient schedules at points computed by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpld.config import ScheduleConfig
from gpld.config.presets import PRESETS
from gpld.config.train_ratio import train_ratio
from gpld.losses import make_schedule, piecewise

PAPER = PRESETS["paper"]


def _values(initial, config, updates, settings=PAPER):
    schedule = jax.jit(make_schedule(initial, config, train_ratio(settings)))
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


# The first update is made when there are windows for a batch: in `paper` at env step 64 x 16 +
# 16 x 64 = 2,048, with 1,024 environments at 66,560. Before env step 200,000 there are
# 1 + (199,984 - 2,048) / 2 of them, since 16 env steps are taken at a time.
@pytest.mark.parametrize(
    ("preset", "num_envs", "start", "first"),
    [
        ("paper", 16, 200_000, 98_969),
        ("paper", 16, 2_048, 0),
        ("paper", 16, 2_049, 1),
        ("paper", 16, 2_064, 1),
        ("paper", 16, 2_065, 9),
        ("paper", 1_024, 66_560, 0),
        ("paper", 1_024, 200_000, 1 + (199_680 - 66_560) // 2),
        ("mjx", 64, 1_152, 0),  # at 16 x 64 + 8 x 16
        ("mjx", 64, 16_000, 1 + (15_936 - 1_152) // 8),
        ("mjx_paper", 16, 200_000, 98_969),
        ("debug", 16, 160, 1),  # at 8 x 16 + 2 x 8
        ("debug", 16, 161, 5),
    ],
)
def test_the_start_is_given_in_env_steps_and_the_decay_counts_updates_from_there(
    preset, num_envs, start, first
):
    settings = PRESETS[preset]
    settings = dataclasses.replace(
        settings, env=dataclasses.replace(settings.env, num_envs=num_envs)
    )
    updates = (*([0, first - 1] if first else []), first, first + 1_000, first + 24_000)
    values = _values(0.5, ScheduleConfig(start=start), updates, settings)
    expected = [0.5, 0.5 / np.sqrt(2), 0.1]
    np.testing.assert_allclose(values, [0] * (len(updates) - 3) + expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "exponential", "cosine", "step", "piecewise"])
def test_lengths_of_decays_are_in_updates_whatever_the_start(kind):
    config = ScheduleConfig(kind, decay=100, interval=10, boundaries=(5, 10), values=(0.3, 0.2))
    delayed = dataclasses.replace(config, start=200_000)
    updates = np.array([0, 5, 10, 50, 100, 1_000])
    values = _values(0.5, delayed, updates + 98_969)
    np.testing.assert_allclose(values, _values(0.5, config, updates), rtol=1e-6)


def test_without_a_start_nothing_is_converted():
    program = lambda config: str(  # noqa: E731
        jax.make_jaxpr(make_schedule(0.5, config, train_ratio(PAPER)))(jnp.int32(0))
    )
    assert program(ScheduleConfig()) == program(ScheduleConfig(start=2_048))
    assert program(ScheduleConfig()) != program(ScheduleConfig(start=2_049))


def test_a_piecewise_schedule_has_a_value_for_each_boundary():
    with pytest.raises(ValueError, match="each of the 2 `boundaries`, got 1"):
        piecewise(0.5, (1, 2), (0.1,))
