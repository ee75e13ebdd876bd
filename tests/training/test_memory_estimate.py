"""What cannot be run is refused from the settings alone."""

import dataclasses
import re

import pytest

from gpld.cli import parse_config
from gpld.errors import UsageError
from gpld.training.experience import replay_size
from gpld.training.memory_estimate import check_settings
from gpld.training.train import train


def settings(*args):
    """Settings of the preset `debug` with some changes."""
    return parse_config(["--preset", "debug", "--task", "walker_walk", *args])


def test_what_is_usual_passes(tmp_path):
    check_settings(settings(), tmp_path)
    for preset in ("paper_pixels", "mjx_paper", "dreamerv3"):
        check_settings(parse_config(["--preset", preset, "--env_steps", "10000"]), tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--model.units", "1000000000"],
            r"The agent and its gradients take at least 156,\d{3},\d{3},\d{3}\.\d\d GiB of "
            r"memory, but .* are free; choose less for `model\.size` or widths",
        ),
        (
            ["--env.observations", "pixels", "--env.image_size", "1000000"],
            r"The agent .*image_size`",
        ),
        (["--seeds", "100000000"], r"200,000,000 environments take .* `env\.num_envs` or `seeds`"),
        (
            [
                *("--env.num_envs", "100000000", "--replay.capacity", "1000000000000"),
                *("--env_steps", "4000000000"),
            ],
            r"100,000,000 environments take at least 6,103\.52 GiB .* less for `env\.num_envs`",
        ),
        (
            ["--evaluation.num_envs", "1000000000", "--evaluation.episodes", "1000000000"],
            r"1,000,000,000 environments take .* less for `evaluation\.num_envs`",
        ),
        (["--ac.imag_length", "1000000000"], r"an update imagines .* or `ac\.imag_length`"),
        (
            ["--env_steps", "4000000000", "--replay.capacity", "4000000000"],
            r"The replay takes 547\.62 GiB of memory once it is full.* It fits with",
        ),
    ],
)
def test_what_can_fit_nowhere_is_refused_before_anything_is_opened(
    args, message, tmp_path, monkeypatch
):
    def opened(*_):
        raise AssertionError("an environment was opened")

    monkeypatch.setattr("gpld.training.train.open_source", opened)
    with pytest.raises(UsageError, match=message):
        train(settings(*args), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "least"),
    [
        (["--env_steps", "30"], 32),
        (["--env_steps", "20", "--replay.batch_length", "100000"], 400_000),
    ],
)
def test_a_run_without_updates_is_refused(args, least, tmp_path):
    message = f"`env_steps` must be at least {least}, .* got {args[1]}: the run would make no up"
    with pytest.raises(UsageError, match=message):
        train(settings(*args), tmp_path / "run")
    # The last env step may be beyond what was asked for: all environments make theirs.
    check_settings(settings("--env_steps", "31"), tmp_path)


def test_a_run_that_was_begun_before_may_have_no_updates(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    check_settings(settings("--env_steps", "30"), tmp_path)


def test_a_replay_that_is_taken_over_has_its_own_number_of_streams():
    config = settings("--offline", "runs/other", "--replay.capacity", "3")
    saved = {"num_streams": 4, "state": {"num_added": 100}}
    with pytest.raises(UsageError, match=re.escape("`replay.capacity` must be at least 4, a seq")):
        replay_size(config, saved)


def test_an_action_repeat_beyond_an_episode_is_refused():
    message = "`action_repeat` must be at most 1000, the control steps of an episode, got 5000."
    with pytest.raises(UsageError, match=message):
        settings("--env.action_repeat", "5000")
    assert settings("--env.action_repeat", "1000").env.action_repeat == 1000


def test_more_workers_than_environments_are_as_many_as_those():
    from gpld.training.source import num_workers

    config = settings()
    env = dataclasses.replace(config.env, workers=10**9)
    assert num_workers(dataclasses.replace(config, env=env)) == config.env.num_envs
