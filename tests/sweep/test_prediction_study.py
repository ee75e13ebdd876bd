"""Recorded episodes are what happened; replays hold the first of them; sweeps learn from these."""

import dataclasses
import json
import types

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest
from helpers import CONFIG

from gpld import agent
from gpld.analysis.prediction_report import BASELINE, RESULT, ROWWISE
from gpld.commands.prediction_study import main
from gpld.config import EnvConfig
from gpld.datasets import DataFolder
from gpld.envs import make_env
from gpld.errors import UsageError
from gpld.evaluation.trained_agent import TrainedAgent
from gpld.sweep import prediction_study
from gpld.sweep.prediction_study import (
    ARMS,
    FRAMES,
    HELD_OUT_EPISODES,
    Study,
    make_data,
    read_episodes,
    record_episode,
)

TASK = "cartpole_balance"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def player():
    """An agent that has learned nothing, in episodes of 100 env steps."""
    config = dataclasses.replace(CONFIG, task=TASK, env=EnvConfig(action_repeat=10))
    sizes = make_env(TASK, seed=0, **config.env_options).spec.sizes
    state = eqx.filter_jit(lambda key: agent.init(config, **sizes, key=key))(jr.key(0))
    return TrainedAgent(state, config)


def stand_in(patch, player):
    """Let the name `an agent` stand for this one."""
    folder = types.SimpleNamespace(config=lambda: player.config)
    patch.setattr(prediction_study, "open_run", {"an agent": folder}.get)
    patch.setattr(prediction_study, "load", {"an agent": player}.get)


@pytest.fixture(scope="module")
def made(player, tmp_path_factory):
    """A study whose episodes are recorded."""
    study = Study(tmp_path_factory.mktemp("study"), {TASK: "an agent"}, "debug", 2, 400)
    said = []
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, player)
        make_data(study, said.append)
    assert said == [f"recorded 20 episodes of {TASK} to learn from and 10 to predict"]
    return study


@pytest.mark.parametrize("randomness", [0.0, 0.5, 1.0])
def test_an_episode_is_what_its_actions_lead_to(player, randomness):
    recorded = record_episode(player, randomness=randomness, seed=3)
    again = record_episode(player, randomness=randomness, seed=3)
    assert all(np.array_equal(recorded[name], again[name]) for name in recorded)
    assert recorded["reward"].shape == (100,)
    own = prediction_study.derive_seed(3, "prediction study")
    env = make_env(TASK, seed=own, **player.config.env_options)
    step = env.reset()
    for time, action in enumerate(recorded["action"]):
        for name, x in step.observation.items():
            np.testing.assert_array_equal(recorded[f"observation/{name}"][time], x)
        step = env.step(action)
        assert step.reward == recorded["reward"][time]
    assert step.is_last


def test_so_many_actions_are_random(player):
    """What an agent does depends on what it has learned, and what is random does not."""
    other = eqx.tree_at(
        lambda player: player.state.model.policy, player, replace_fn=lambda p: eqx.tree_at(
            lambda p: p.mean.bias, p, replace_fn=lambda bias: bias + 0.7
        )
    )  # fmt: skip
    for randomness, low, high in ((0.0, 0, 0), (0.5, 0.35, 0.65), (1.0, 1, 1)):
        actions = [
            record_episode(own, randomness=randomness, seed=3)["action"] for own in (player, other)
        ]
        inside = np.abs(actions[0]) < 1  # others may be equal because they are cut off
        assert np.mean(inside) > 0.3
        assert low <= np.mean(actions[0][inside] == actions[1][inside]) <= high


def test_replays_hold_the_first_episodes(made):
    home = made.root / "data" / TASK
    files = sorted((home / "episodes").glob("*.npz"))
    assert len(files) == 20
    for frames in FRAMES:
        data = DataFolder.read(made.data(TASK, frames))
        assert data.manifest["state"]["num_added"] == frames // 1000 * 101
        assert (data.task, data.spec.action_repeat) == (TASK, 10)


def test_held_out_episodes_are_others_and_read_as_they_were_recorded(made):
    home = made.root / "data" / TASK
    held_out = read_episodes(home / "held_out")
    assert held_out.reward.shape == (HELD_OUT_EPISODES, 101)
    learned = read_episodes(home / "episodes")
    for own in held_out.observation["position"][:, 0]:
        assert (learned.observation["position"][:, 0] != own).any(axis=-1).all()
    with np.load(sorted((home / "held_out").glob("*.npz"))[2]) as arrays:
        np.testing.assert_array_equal(held_out.reward[2, 1:], arrays["reward"])
        np.testing.assert_array_equal(held_out.action[2, :-1], arrays["action"])
        np.testing.assert_array_equal(
            held_out.observation["velocity"][2], arrays["observation/velocity"]
        )
    assert (held_out.reward[:, 0] == 0).all()


@pytest.mark.exhaustive
def test_what_is_there_is_not_recorded_again_and_what_is_half_is(made, player, monkeypatch):
    home = made.root / "data" / TASK
    before = (home / "episodes" / "000.npz").stat().st_mtime_ns
    make_data(made, pytest.fail)
    assert (home / "episodes" / "000.npz").stat().st_mtime_ns == before
    assert json.loads((home / "made.json").read_text()) == {"agent": "an agent"}
    (home / "made.json").unlink()  # as if it had been killed before
    (home / "recording").touch()
    stand_in(monkeypatch, player)
    make_data(made, lambda line: None)
    assert (home / "episodes" / "000.npz").stat().st_mtime_ns > before
    assert (home / "made.json").exists()
    assert not (home / "recording").exists()
    with pytest.raises(UsageError, match=r"must name an agent, which recorded .*, got another"):
        make_data(made._replace(agents={TASK: "another"}), pytest.fail)


def test_what_others_have_put_there_stays(tmp_path):
    thesis = tmp_path / "data" / TASK / "thesis.npz"
    thesis.parent.mkdir(parents=True)
    thesis.touch()
    study = Study(tmp_path, {TASK: "an agent"}, "debug", 1, 400)
    with pytest.raises(UsageError, match=r"must be empty for .*, but it holds thesis\.npz"):
        make_data(study, pytest.fail)
    assert [path.name for path in thesis.parent.iterdir()] == ["thesis.npz"]


def test_the_sweeps_are_the_grid(made, player, monkeypatch):
    stand_in(monkeypatch, player)
    sweeps = made.sweeps()
    assert [(path.parent.name, path.name) for path, _ in sweeps] == [
        (TASK, str(frames)) for frames in FRAMES
    ]
    for path, sweep in sweeps:
        arms = list(ARMS) if path.name == "5000" else [BASELINE, ROWWISE]
        assert list(sweep.arms) == arms
        config = sweep.config(arms[-1], TASK, (1,), path / "run")
        assert (config.learn, config.seed, config.env_steps) == ("world_model", 1, 400)
        assert config.offline == str(made.data(TASK, int(path.name)))
    # Whatever the preset has.
    for preset in ("paper", "dreamerv3", "authors"):
        (_, sweep), *_ = made._replace(preset=preset).sweeps()
        own = [sweep.config(arm, TASK, (0,), path).gpld for arm in (BASELINE, ROWWISE)]
        assert [(gpld.lambda0, gpld.estimator) for gpld in own] == [
            (0, "rowwise"),
            (0.5, "rowwise"),
        ]


def test_episodes_that_are_too_short_are_refused(player, tmp_path, monkeypatch):
    study = Study(tmp_path, {TASK: "an agent"}, "debug", 1, 400)
    config = dataclasses.replace(player.config, env=EnvConfig(action_repeat=20))
    stand_in(monkeypatch, TrainedAgent(player.state, config))
    with pytest.raises(UsageError, match=r"must have 95 env steps at least, .*, got 50\.$"):
        make_data(study, pytest.fail)


def test_the_agent_remembers_what_was_done(player):
    """Not what it would have done, where a random action took the place of its own."""
    remembered = []

    class Noting(TrainedAgent):
        def act(self, step, state):
            remembered.append(np.asarray(state.policy.action[0]))
            return super().act(step, state)

    noting = Noting(player.state, player.config)
    for randomness in (0.0, 1.0):
        remembered.clear()
        recorded = record_episode(noting, randomness=randomness, seed=3)
        assert (remembered[0] == 0).all()
        np.testing.assert_array_equal(np.stack(remembered[1:]), recorded["action"][:-1])


@pytest.mark.exhaustive
def test_the_command_trains_measures_and_goes_on(made, player, monkeypatch, capsys):
    stand_in(monkeypatch, player)
    monkeypatch.setattr(prediction_study, "load", _either(player))
    monkeypatch.setattr("gpld.commands.prediction_study.open_run", prediction_study.open_run)
    args = ["an agent", "--preset", "debug", "--seeds", "1", "--env_steps", "200"]
    main([*args, "--out", str(made.root)])
    results = sorted(made.root.rglob(RESULT))
    assert len(results) == 10
    assert {json.loads(path.read_text())["frames"] for path in results} == set(FRAMES)
    written = sorted(path.name for path in (made.root / "report").iterdir())
    assert "predictions.md" in written
    assert "horizons.png" in written
    times = [path.stat().st_mtime_ns for path in results]
    capsys.readouterr()
    main([*args, "--out", str(made.root)])
    assert [path.stat().st_mtime_ns for path in results] == times
    assert "6 of 6 jobs are finished, 0 are left" in capsys.readouterr().out


def _either(player):
    from gpld.evaluation.trained_agent import load

    return lambda name, **options: player if name == "an agent" else load(name, **options)
