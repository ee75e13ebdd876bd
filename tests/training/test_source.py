"""Imported data as the source of a run, before anything is trained on it."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from imported_data import imported, steps_of, write_episodes

from gpld.cli import parse_config
from gpld.config.presets import PRESETS
from gpld.errors import UsageError
from gpld.machine import checksums
from gpld.runs.start import PlannedRun
from gpld.training.experience import LATENT, make_replay, sample
from gpld.training.source import open_source, take_over
from gpld.training.train import train

DEBUG = PRESETS["debug"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    return imported(write_episodes(path / "arms"), path / "out")


def configured(data, **changes):
    """Settings of a world model that learns from data."""
    config = dataclasses.replace(
        DEBUG,
        task="arms",
        offline=str(data.path),
        learn="world_model",
        env=dataclasses.replace(DEBUG.env, action_repeat=1),
    )
    return dataclasses.replace(config, **changes)


def source_of(config, path):
    with contextlib.ExitStack() as stack:
        return open_source(PlannedRun(path, config, ""), 1, stack)


def test_a_replay_takes_data_over(data, tmp_path):
    config = configured(data)
    source = source_of(config, tmp_path)
    assert (source.spec, source.envs) == (data.spec, None)
    replay = make_replay(config, source.spec, None, source.manifest)
    for name in LATENT:  # as memory that was not cleared
        replay.ring.arrays[name].fill(7)
    take_over(source.stored, source.manifest, replay)
    for name, array in steps_of(data).items():
        np.testing.assert_array_equal(replay.ring.arrays[name][0, :84], array)
    assert not any(replay.ring.arrays[name].any() for name in LATENT)
    drawn = sample(replay, 5)
    assert drawn.steps["observation"].shape == (5, config.replay.batch_length + 1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "legs"}, "of another task; add `--task arms --env.action_repeat 1`"),
        (
            {"env": dataclasses.replace(DEBUG.env, action_repeat=2)},
            "of another task; add `--task arms --env.action_repeat 1`",
        ),
        (
            {"replay": dataclasses.replace(DEBUG.replay, batch_length=84)},
            r"`replay.batch_length` must be below 84, the env steps .* got 84",
        ),
        ({"offline": "nowhere"}, "nowhere is not a run folder"),
    ],
)
def test_what_does_not_fit_is_one_line(data, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message) as error:
        source_of(configured(data, **changes), tmp_path)
    assert "\n" not in str(error.value)


def test_an_agent_is_evaluated_in_an_environment_like_the_data(tmp_path):
    data = imported(write_episodes(tmp_path / "a"), tmp_path / "out", "--task", "probe_delayed")
    config = configured(data, task="probe_delayed", learn="agent")
    with pytest.raises(UsageError, match=r"where the agent is evaluated, has .* float32") as error:
        source_of(config, tmp_path)
    assert "\n" not in str(error.value)
    source_of(dataclasses.replace(config, learn="world_model"), tmp_path)


def test_bounds_of_actions_are_those_of_the_environment_in_which_it_is_evaluated(tmp_path):
    (tmp_path / "eps").mkdir()
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "eps" / "0.npz",
        observation=rng.normal(size=(101, 3)),
        action=rng.uniform(-1, 1, (100, 1)),
        reward=np.zeros(100),
        terminated=np.arange(100) == 99,
    )
    task = "gymnasium:Pendulum-v1"

    def configure(bound):
        flags = ["--task", task, "--low", f"-{bound}", "--high", f"{bound}"]
        data = imported(tmp_path / "eps", tmp_path / f"{bound}", *flags)
        assert data.bounds == [[-bound], [bound]]
        return data, configured(data, task=task, learn="agent")

    source_of(configure(2)[1], tmp_path)
    data, config = configure(1)
    with pytest.raises(UsageError) as error:
        source_of(config, tmp_path)
    assert str(error.value).endswith(
        "gymnasium:Pendulum-v1, where the agent is evaluated, has actions in [-2, 2] at entry 0, "
        "but the data set was imported with [-1, 1]; `gpld import-data --low --high` sets them."
    )
    source_of(dataclasses.replace(config, learn="world_model"), tmp_path)
    file = data.path / "data.json"
    values = json.loads(file.read_text())
    del values["sha256"], values["bounds"]  # as versions before wrote it
    file.write_text(json.dumps({**values, "sha256": checksums.of_json(values)}))
    source_of(config, tmp_path)


def test_images_that_the_model_cannot_take_are_one_line(tmp_path):
    num = 84
    (tmp_path / "eps").mkdir()
    np.savez(
        tmp_path / "eps" / "0.npz",
        observation=np.zeros((num + 1, 20, 24, 3), np.uint8),
        action=np.zeros(num, int),
        num_actions=2,
        reward=np.zeros(num),
        terminated=np.zeros(num),
    )
    config = configured(imported(tmp_path / "eps", tmp_path / "out"), task="eps")
    with pytest.raises(UsageError) as error:
        train(config, tmp_path / "run")
    assert str(error.value) == (
        "The images of eps must be equally large, with sides that are multiples of 16, got "
        "20 x 24; `gpld import-data --image_size 16` resizes those of data."
    )
    assert not (tmp_path / "run").exists()

    # Stored images have the size that they have.
    resized = dataclasses.replace(config, env=dataclasses.replace(config.env, image_size=16))
    with pytest.raises(UsageError, match=r"`env.image_size` must be .*image is 20 x 24, got 16;"):
        source_of(resized, tmp_path)
    small = imported(tmp_path / "eps", tmp_path / "small", "--image_size", "16")
    source_of(dataclasses.replace(resized, offline=str(small.path)), tmp_path)


def test_only_a_world_model_needs_no_known_task(data):
    args = ["--task", "arms", "--env.action_repeat", "1", "--offline", str(data.path)]
    assert parse_config([*args, "--learn", "world_model"]).task == "arms"
    with pytest.raises(UsageError, match="`task` must be a known task, got 'arms'"):
        parse_config(args)
