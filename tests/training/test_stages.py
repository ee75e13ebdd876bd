"""The stages of the loop by themselves: what is resumed, and what failures leave unwritten."""

import dataclasses
from types import MappingProxyType

import numpy as np
import pytest
from seed_runs import seed_run

from gpld.agent import AgentState
from gpld.checkpoints.retention import Start
from gpld.checkpoints.writer import Checkpointer
from gpld.config import EnvConfig
from gpld.config.presets import PRESETS
from gpld.envs import WorkerError
from gpld.errors import UsageError
from gpld.machine.signals import Interrupts
from gpld.parallel.hosts import Processes
from gpld.replay import Replay
from gpld.runs.clock import Clock
from gpld.runs.console import outlook
from gpld.training.evaluator import Evaluator
from gpld.training.host.trainer import HostTrainer
from gpld.training.pictures import Pictures
from gpld.training.seed_run import Failure
from gpld.training.stages import Stages

CONFIG = dataclasses.replace(PRESETS["debug"], env=EnvConfig(num_envs=4, workers=0))


class Restored(HostTrainer):
    """Holds what it is set to."""

    state = batch = None

    def __init__(self, clock=Clock()):  # noqa: B008
        self.clock, self.states = clock, None

    def set_states(self, clock, states):
        self.clock, self.states = clock, states

    def agent(self, index):
        return object.__new__(AgentState)


class Evaluation(Evaluator):
    """Gives a score, or fails."""

    def __init__(self, score):
        self._score = score

    def __call__(self, state, env_step, *, video):
        if self._score is None:
            raise WorkerError("The environments died.")
        return {"mean": self._score, "std": 0.0, "scores": [self._score], "lengths": [1]}


class NoPictures(Pictures):
    def __init__(self):
        pass

    def learning_curve(self):
        pass


def make(tmp_path, trainer, *scores):
    runs = [
        seed_run(tmp_path / f"seed{i}", CONFIG, evaluate=Evaluation(score), pictures=NoPictures())
        for i, score in enumerate(scores)
    ]
    with Interrupts(print, outlook) as interrupts:
        stages = Stages(
            CONFIG,
            runs,
            trainer,
            object.__new__(Checkpointer),
            report=lambda state, batch: [],
            interrupts=interrupts,
            processes=Processes(index=1, count=1),  # the first draws predictions
        )
    return runs, stages


def start(settled, **manifest):
    recorder = {
        "env_step": 40,
        "update": 7,
        "skipped": 2,
        "restarts": 1,
        "logged_at": 20,
        "scores": [3.0],
        "diagnostics": {},
        "episodes": {"score": np.zeros(4), "length": np.zeros(4, int)},
        "metrics": {},
    }
    return Start(
        object.__new__(AgentState),
        object.__new__(Replay),
        loop={"settled": settled, "recorder": recorder, "learner": "its state"},
        manifest=MappingProxyType(manifest),
    )


@pytest.mark.parametrize(("settled", "served"), [(True, 40), (False, 36)])
def test_what_is_still_due_at_a_checkpoint_is_known(settled, served, tmp_path):
    trainer = Restored()
    [run], stages = make(tmp_path, trainer, 1.0)
    assert stages.resume([start(settled)]) == served
    assert trainer.clock == Clock(40, 7)
    assert trainer.states[0]["learner"] == "its state"
    assert (run.recorder.skipped, run.recorder.restarts) == (2, 1)


def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path):
    _, stages = make(tmp_path, Restored(), 1.0)
    with pytest.raises(UsageError, match="does not hold the state of such a run: KeyError"):
        stages.resume([start(True)._replace(loop={"settled": True})])


def test_no_score_is_written_unless_all_seeds_were_evaluated(tmp_path):
    """They are evaluated again after the failure, and would have two lines otherwise."""
    runs, stages = make(tmp_path, Restored(Clock(40, 7)), 1.0, None)
    with pytest.raises(Failure, match=r"^seed1: The environments died") as failure:
        stages.evaluate(video=False)
    assert failure.value.run is runs[1]
    assert failure.value.saved  # with what it has collected
    assert [run.folder.read("scores") for run in runs] == [[], []]
    runs, stages = make(tmp_path, Restored(Clock(40, 7)), 1.0, 2.0)
    stages.evaluate(video=False)
    assert [run.folder.read("scores")[0]["mean"] for run in runs] == [1.0, 2.0]
