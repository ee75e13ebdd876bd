"""Flags of the command line, read into settings."""

import dataclasses

import pytest

from gpld.config import Config
from gpld.config.flags import parse_settings, value_of
from gpld.config.presets import PRESETS
from gpld.errors import UsageError


def test_flags_go_over_the_preset():
    config = parse_settings(["--preset", "small", "--gpld.lambda0", "0.25", "--seed=3"])
    small = PRESETS["small"]
    penalty = dataclasses.replace(small.gpld, lambda0=0.25)
    assert config == dataclasses.replace(small, seed=3, gpld=penalty)


def test_flags_go_over_stored_settings():
    stored = dataclasses.replace(PRESETS["debug"], seed=5)
    config = parse_settings(["--env_steps", "300"], stored)
    assert config == dataclasses.replace(stored, env_steps=300)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--gpld.lambda", "1"], "Unknown flag --gpld.lambda; did you mean --gpld.lambda0"),
        (["--task", ""], "--task must not be empty."),
        (["--gpld.rho", "2"], "`gpld.rho` must be in (0, 1], got 2.0."),
        (["--seed", "x"], "--seed"),
        (["--preset", "x"], "--preset"),
    ],
)
def test_mistakes_are_one_line(args, message):
    with pytest.raises(UsageError) as error:
        parse_settings(args)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_value_of_a_flag_counts():
    assert value_of(["--run", "a", "--run=b"], "--run") == "b"
    assert value_of(["--running", "a"], "--run") is None
    assert Config.preset == "paper"
