"""Agents that come with the package are small and whole, and are found by their names."""

import json
import re

import numpy as np
import pytest

import gpld
from gpld.analysis.scores import CHECKPOINT_SCORES
from gpld.envs import TimeStep
from gpld.errors import UsageError
from gpld.runs.zoo import is_of_zoo, open_run, zoo_names

MOST_BYTES = 3 * 10**6
NAMES = zoo_names()


def test_the_zoo_has_agents():
    assert "cartpole_swingup" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_is_small_says_where_it_comes_from_and_acts(name):
    folder = open_run(f"zoo:{name}")
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert not any("/work" in path.read_text() for path in files if path.suffix != ".eqx")
    assert re.fullmatch("[0-9a-f]{40}", folder.record()["commit"])
    config, spec = folder.config(), folder.env_spec()
    assert name == config.task
    (checkpoint,) = json.loads((folder.path / CHECKPOINT_SCORES).read_text())["checkpoints"]
    assert sum(len(e["scores"]) for e in checkpoint["evaluations"]) >= 20
    assert (checkpoint["env_step"], checkpoint["run"]) == (
        folder.read("scores")[-1]["env_step"],
        f"zoo:{name}",
    )
    agent = gpld.load(f"zoo:{name}")
    zeros = {key: np.zeros(array.shape, array.dtype) for key, array in spec.observation.items()}
    step = TimeStep(zeros, np.float32(0), np.bool_(True), np.bool_(False), np.bool_(False))
    action, _ = agent.act(step, agent.initial_state())
    assert action.shape == (spec.action_size,)
    assert np.isfinite(action).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_an_agent_has_the_score_that_is_said(name):
    stored = json.loads((open_run(f"zoo:{name}").path / CHECKPOINT_SCORES).read_text())
    (checkpoint,) = stored["checkpoints"]
    said = np.concatenate([e["scores"] for e in checkpoint["evaluations"]])
    found = np.array(gpld.evaluate(f"zoo:{name}", num_episodes=20, seed=1).scores)
    # Other episodes: their mean differs by three standard errors of the difference at most.
    error = np.hypot(said.std() / len(said) ** 0.5, found.std() / len(found) ** 0.5)
    assert abs(found.mean() - said.mean()) <= 3 * error + 1e-3


def test_an_unknown_name_is_answered_with_those_there_are():
    assert is_of_zoo("zoo:x")
    assert not is_of_zoo("runs/zoo:x")
    with pytest.raises(UsageError, match=r"The zoo has the agents .*cartpole_swingup.*, got zoo:x"):
        gpld.load("zoo:x")
    with pytest.raises(UsageError, match=r"got zoo:\.\./analysis"):
        open_run("zoo:../analysis")
