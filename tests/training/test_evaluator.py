"""Evaluations within a run: what they say of an environment that is not the run's any more."""

import dataclasses

import pytest

import gpld
from gpld.agent import AgentState
from gpld.config.presets import PRESETS
from gpld.envs import WorkerError, own
from gpld.envs.probe import ConstantReward
from gpld.machine.signals import Interrupts
from gpld.models import Dreamer
from gpld.runs.console import outlook
from gpld.runs.folder import RunFolder
from gpld.training.evaluator import Evaluator


class Folder(RunFolder):
    """Says that one observation more is seen than there is."""

    def env_spec(self):
        spec = ConstantReward(seed=0).spec
        (name, array), *others = spec.observation.items()
        more = {name: array._replace(shape=(array.shape[0] + 1,)), **dict(others)}
        return spec._replace(observation=more)


STATE = object.__new__(AgentState)
object.__setattr__(STATE, "model", object.__new__(Dreamer))  # both fail before they look at it


@pytest.fixture
def evaluator(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    debug = PRESETS["debug"]
    env = dataclasses.replace(debug.env, workers=1, max_restarts=0)
    config = dataclasses.replace(debug, task="mine", env=env)
    with Interrupts(print, outlook) as interrupts:
        yield Evaluator(config, Folder(tmp_path), interrupts, print)


def test_code_that_has_changed_since_is_an_error_that_saves_the_run(evaluator):
    gpld.register("mine", ConstantReward)
    with pytest.raises(WorkerError, match=r"^There is no evaluation: mine has .*, but the run"):
        evaluator(STATE, 40, video=False)


def _raise(seed):
    raise RuntimeError("no licence")


def test_environments_of_ones_own_are_in_processes_as_in_training(evaluator):
    gpld.register("mine", _raise)
    with pytest.raises(WorkerError, match=r"^Worker of environments? 0 .*: no licence"):
        evaluator(STATE, 40, video=False)
