"""Training on the stored replay of another run."""

import dataclasses

import equinox as eqx
import numpy as np
import pytest
from imported_data import imported, write_episodes

import gpld
from gpld.config.presets import PRESETS
from gpld.envs import make_env
from gpld.errors import UsageError
from gpld.replay import Replay
from gpld.training.train import train

pytestmark = pytest.mark.slow

DEBUG = PRESETS["debug"]
CONFIG = dataclasses.replace(
    DEBUG,
    task="probe_delayed",
    env_steps=120,
    env=dataclasses.replace(DEBUG.env, action_repeat=1, num_envs=3),
    log=dataclasses.replace(DEBUG.log, every=20, report_every=0, tensorboard=False),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "run"
    train(CONFIG, path)
    return path


def _offline(source, **changes):
    # One environment fewer: the clock may go on in other steps than those that are stored.
    env = dataclasses.replace(CONFIG.env, num_envs=2)
    return dataclasses.replace(CONFIG, offline=str(source), env=env, **changes)


def test_an_agent_learns_without_environments(source, tmp_path, monkeypatch):
    def no_environments(*_, **__):
        raise AssertionError("an environment was made")

    def nothing_added(*_):
        raise AssertionError("a step was added")

    monkeypatch.setattr("gpld.training.source.make_vector_env", no_environments)
    monkeypatch.setattr(Replay, "add", nothing_added)
    folder = train(_offline(source), tmp_path / "run")
    lines = folder.read("metrics")
    assert lines[-1]["env_step"] == 120
    # 1 + floor((120 - 32) / 4), as if the env steps had been collected.
    assert lines[-1]["update"] == 23
    assert all(np.isfinite(line["train/loss/policy"]) for line in lines if line["update"] > 0)
    assert folder.read("episodes") == []
    assert len(folder.read("scores")) == 1  # the evaluation has environments of its own


def test_an_offline_run_can_be_resumed_without_its_source(source, tmp_path):
    whole = train(_offline(source), tmp_path / "whole")
    moved = source.with_name("moved")
    half = train(_offline(source, env_steps=80), tmp_path / "half")
    for name in ("replay", "000000120"):
        (source / "checkpoints" / name).rename(moved.with_name(name))
    try:
        train(_offline(source), half.path)
    finally:
        for name in ("replay", "000000120"):
            moved.with_name(name).rename(source / "checkpoints" / name)
    timeless = lambda line: {k: v for k, v in line.items() if not k.startswith("time/")}  # noqa: E731
    assert timeless(half.read("metrics")[-1]) == timeless(whole.read("metrics")[-1])


def test_the_world_model_alone(source, tmp_path):
    config = _offline(source, learn="world_model")
    kept = dataclasses.replace(config.checkpoint, keep=50)
    folder = train(dataclasses.replace(config, checkpoint=kept), tmp_path / "run")
    trained, fresh = (gpld.load(folder.path, env_step=step).state for step in (None, 0))
    assert (trained.update, fresh.update) == (23, 0)
    for name in ("policy", "value"):
        assert eqx.tree_equal(getattr(trained.model, name), getattr(fresh.model, name))
    assert not eqx.tree_equal(trained.model.rssm, fresh.model.rssm)
    assert folder.read("scores") == []
    assert "train/loss/policy" not in folder.read("metrics")[-1]
    assert "train/loss/dyn" in folder.read("metrics")[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "probe_memory"}, "taken with other settings; add `--task probe_delayed"),
        (
            {"model": dataclasses.replace(CONFIG.model, deter=64)},
            "does not fit: The saved replay has another `arrays`",
        ),
        ({"offline": "nowhere"}, "nowhere is not a run folder"),
    ],
)
def test_what_does_not_fit_is_one_line(source, tmp_path, changes, message):
    config = dataclasses.replace(_offline(source), **changes)
    with pytest.raises(UsageError, match=message) as error:
        train(config, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_world_model_learns_from_imported_data(tmp_path):
    data = imported(write_episodes(tmp_path / "arms"), tmp_path / "data")
    config = dataclasses.replace(
        _offline(data.path),
        task=data.task,
        learn="world_model",
        env_steps=60,
        evaluation=dataclasses.replace(CONFIG.evaluation, predictions=2),
    )
    folder = train(config, tmp_path / "run")
    last = folder.read("metrics")[-1]
    assert last["update"] == 8
    assert np.isfinite(last["train/loss/dyn"])
    assert (folder.path / "predictions" / "000000060-vectors.png").stat().st_size > 0
    # The latent states of the updates are in the run's own replay, with which it goes on.
    (data.path / "data.json").unlink()
    longer = train(dataclasses.replace(config, env_steps=80), folder.path)
    assert longer.read("metrics")[-1]["update"] == 13
    assert gpld.load(longer.path).state.update == 13


def test_an_agent_learns_from_imported_data_of_a_task(tmp_path):
    """Recorded as Gymnasium's datasets are, from a task of ours, in which it is then evaluated."""
    env, rng = make_env("probe_delayed", seed=0), np.random.default_rng(0)
    (tmp_path / "episodes").mkdir()
    for number in range(20):
        steps, actions = [env.reset()], []
        while not steps[-1].is_last:
            actions.append(rng.uniform(-1, 1, env.spec.action_size).astype(np.float32))
            steps.append(env.step(actions[-1]))
        observations = {
            f"observation/{name}": np.stack([step.observation[name] for step in steps])
            for name in env.spec.observation
        }
        np.savez(
            tmp_path / "episodes" / f"{number}.npz",
            **observations,
            action=np.stack(actions),
            action_low=-1,
            action_high=1,
            reward=np.stack([step.reward for step in steps[1:]]),
            terminated=np.stack([step.is_terminal for step in steps[1:]]),
        )
    data = imported(tmp_path / "episodes", tmp_path / "data", "--task", "probe_delayed")
    config = dataclasses.replace(_offline(data.path), env_steps=60)
    folder = train(config, tmp_path / "run")
    assert folder.read("metrics")[-1]["update"] == 8
    assert np.isfinite(folder.read("scores")[-1]["mean"])
