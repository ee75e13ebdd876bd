"""The loop by itself: what it does after which env steps, and where it stops."""

import dataclasses
from pathlib import Path

import pytest

from gpld.config import CheckpointConfig, EnvConfig, EvaluationConfig, LogConfig
from gpld.config.presets import PRESETS
from gpld.envs.failures import TooManyFailuresError
from gpld.errors import Interrupted, MachineError
from gpld.runs.clock import Clock
from gpld.training.host.trainer import HostTrainer
from gpld.training.loop import Loop
from gpld.training.profiling import Profiler
from gpld.training.seed_run import Failure, SeedRun
from gpld.training.stages import Stages

CONFIG = dataclasses.replace(
    PRESETS["debug"],
    env_steps=100,
    env=EnvConfig(num_envs=4, workers=0),
    evaluation=EvaluationConfig(every=40, video_every=80),
    log=LogConfig(every=30, report_every=50),
    checkpoint=CheckpointConfig(every=60),
)


class Rounds(HostTrainer):
    """Goes on by so many rounds at a time, and may fail or be stopped at an env step."""

    state = batch = None

    def __init__(self, rounds=1, error=None, at=None):
        self.clock, self.asked = Clock(), []
        self._rounds, self._error, self._at = rounds, error, at

    def advance(self, until, check):
        self.asked.append((self.clock.env_step, until))
        for _ in range(self._rounds):
            if self.clock.env_step >= until:
                return
            self.clock = Clock(self.clock.env_step + 4, self.clock.update + 1)
            if self.clock.env_step == self._at and self._error is not None:
                error, self._error = self._error, None
                raise error
        check()


class Noting(Stages):
    """Writes down what is asked of it, and at which env step."""

    def __init__(self, trainer):
        self._trainer, self.done, self.overdue_at = trainer, [], ()

    def _note(self, *what):
        self.done.append((self._trainer.clock.env_step, *what))

    def raise_if_interrupted(self):
        pass

    def evaluate(self, *, video):
        self._note("evaluate and draw" if video else "evaluate")

    def report(self):
        self._note("report")

    def log(self):
        self._note("log")

    def is_checkpoint_old(self):
        return self._trainer.clock.env_step in self.overdue_at

    def save(self, served, *, milestone=False, excluding=None):
        self._note("save", served, milestone, excluding)

    def wait(self):
        self._note("wait")

    def interruption(self):
        return Interrupted("here")


def make(trainer, served=0):
    stages = Noting(trainer)
    loop = Loop(CONFIG, trainer, stages, Profiler(Path(), 0, print))
    loop.served = served
    return loop, stages


EXPECTED = [
    (32, "log"),
    (40, "evaluate"),
    (52, "report"),
    (60, "log"),
    (60, "save", 60, True, None),
    (80, "evaluate and draw"),
    (92, "log"),
    (100, "evaluate and draw"),
    (100, "report"),
    (100, "log"),
    (100, "save", 100, False, None),
    (100, "wait"),
]


@pytest.mark.parametrize("rounds", [1, 3, 1000])
def test_everything_happens_once_when_it_is_due_however_far_the_trainer_goes(rounds):
    trainer = Rounds(rounds)
    loop, stages = make(trainer)
    loop.run()
    assert stages.done == EXPECTED
    assert all(before < until for before, until in trainer.asked)
    assert loop.finished


@pytest.mark.parametrize("at", [32, 36, 60, 100])
def test_a_stop_before_env_steps_are_served_is_saved_as_such_and_made_up_for(at):
    loop, stages = make(Rounds(error=Interrupted(), at=at))
    with pytest.raises(Interrupted, match="here"):
        loop.run()
    *before, saved, waited = stages.done
    assert saved == (at, "save", at - 4, False, None)
    assert waited == (at, "wait")
    again, rest = make(loop._trainer, served=at - 4)
    again.run()
    assert [*before, *rest.done] == EXPECTED


def test_a_failed_run_is_not_saved_and_ends_the_others():
    run = object.__new__(SeedRun)
    trainer = Rounds(error=Failure(run, MachineError("broken")), at=36)
    loop, stages = make(trainer)
    with pytest.raises(MachineError, match="broken"):
        loop.run()
    assert stages.done[-1] == (36, "save", 32, False, run)


def test_a_failed_run_that_is_whole_is_saved():
    error = TooManyFailuresError("one more")
    loop, stages = make(Rounds(error=Failure(object.__new__(SeedRun), error, saved=True), at=36))
    with pytest.raises(TooManyFailuresError, match="one more"):
        loop.run()
    assert stages.done[-1] == (36, "save", 32, False, None)


def test_runs_are_saved_when_their_checkpoints_are_too_old():
    loop, stages = make(Rounds())
    stages.overdue_at = (8, 44)
    loop.run()
    saved = [what for what in stages.done if what[1] == "save"]
    assert [(env_step, milestone) for env_step, _, _, milestone, _ in saved] == [
        (8, False),
        (44, False),
        (60, True),
        (100, False),
    ]
