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


def test_code_that_has_changed_since_is_an_error_that_saves_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    gpld.register("mine", ConstantReward)
    config = dataclasses.replace(PRESETS["debug"], task="mine")
    state = object.__new__(AgentState)
    object.__setattr__(state, "model", object.__new__(Dreamer))
    with Interrupts(print, outlook) as interrupts:
        evaluator = Evaluator(config, Folder(tmp_path), interrupts, print)
        with pytest.raises(WorkerError, match=r"^There is no evaluation: mine has .*, but the run"):
            evaluator(state, 40, video=False)
