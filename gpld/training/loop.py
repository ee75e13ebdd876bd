"""The training loop: bring runs forward, then look at how it goes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..checkpoints import tree_file
from ..checkpoints.retention import Contents
from ..checkpoints.writer import Checkpointer
from ..config import Config, lasting
from ..errors import Interrupted
from ..machine.signals import Interrupts
from ..parallel.hosts import Peers
from .profiling import Profiler
from .seed_run import Failure, Member
from .trainer import Trainer


class Loop:
    """What a run does from its first env step to its last, or several runs in lockstep.

    Their states can be taken between any two of its steps; a loop that goes on from there does
    what this one would have done. All runs have the same clocks.
    """

    def __init__(
        self,
        config: Config,
        members: Sequence[Member],
        trainer: Trainer,
        checkpointer: Checkpointer,
        profiler: Profiler,
        *,
        report: Callable[..., Sequence[Any]],
        interrupts: Interrupts,
        peers: Peers,
    ):
        """Puts the parts together.

        Args:
            config: Settings.
            members: The runs.
            trainer: Collects experience and learns from it.
            checkpointer: Saves the runs.
            profiler: Told of every round.
            report: `report(state, batch)`, diagnostics of each world model.
            interrupts: Signals that ask to stop.
            peers: Processes of the run, all of which stop after the same update.
        """
        self._config, self._members = config, members
        self._trainer, self._checkpointer = trainer, checkpointer
        self._profiler = profiler
        self._report, self._interrupts, self._peers = report, interrupts, peers
        # The first says what time it is for all.
        self._recorder = members[0].recorder

    @property
    def finished(self) -> bool:
        """Whether all env steps are made, and everything that follows them."""
        return self._trainer.settled and self._recorder.finished

    def begin(self) -> None:
        """Starts new runs and saves them, so that they can be resumed whenever they end.

        Raises:
            MachineError: If they cannot be saved.
        """
        self._trainer.begin()
        self._save()
        self._checkpointer.wait()

    def run(self) -> None:
        """Goes on to the end.

        Raises:
            Interrupted: If a signal asked for it; all is saved.
            MachineError: If something cannot be written, or numbers are not finite.
            WorkerError: If environments failed too often.
        """
        try:
            while not self.finished:
                self._profiler.round(self._recorder.update)
                self._trainer.advance(self._check)
                self._settle()
                self._trainer.settled = True
                self._save_if_due()
        except Interrupted:
            self._save()
            self._checkpointer.wait()
            signal = self._interrupts.received or "A signal to another process"
            raise Interrupted(
                f"{signal} ended the run at env step {self._recorder.env_step:,}; it is saved."
            ) from None
        except Failure as failure:
            self._save(but=failure.member)
            raise failure.error from None
        self._checkpointer.wait()

    def get_state(self, index: int) -> dict[str, Any]:
        """All that a checkpoint of one of the runs holds besides its agent and its replay."""
        return {
            "settled": self._trainer.settled,
            "recorder": self._members[index].recorder.get_state(),
            **self._trainer.get_state(index),
        }

    def set_states(
        self, states: Sequence[Mapping[str, Any]], stopwatch: Mapping[str, Any] | None
    ) -> None:
        """Goes on from what `get_state` gave for each run, and the stopwatch of all.

        Without its state, as in older checkpoints, the time before is in no line of metrics.
        """
        self._trainer.settled = states[0]["settled"]
        for member, state in zip(self._members, states, strict=True):
            member.recorder.set_state(state["recorder"], timed=stopwatch is not None)
        if stopwatch is not None:
            self._recorder.stopwatch.set_state(stopwatch)
        self._trainer.set_states(states)

    def _settle(self) -> None:
        """Evaluates, reports and logs, where that is due."""
        clock, trainer, config = self._recorder, self._trainer, self._config
        recorders = [member.recorder for member in self._members]
        if clock.due(config.evaluation.every) or clock.finished:
            if config.learn == "agent":  # a policy that is not trained is not evaluated
                with clock.stopwatch("evaluation"):
                    scores = self._evaluate()  # of all before any is written, or it would be twice
                with clock.stopwatch("logging"):
                    for recorder, score in zip(recorders, scores, strict=True):
                        recorder.evaluated(score)
            with clock.stopwatch("report"):
                self._predict()
        if clock.due(config.log.report_every) and trainer.batch is not None:
            with clock.stopwatch("report"):
                diagnostics = self._report(trainer.state, trainer.batch)
                for recorder, values in zip(recorders, diagnostics, strict=True):
                    recorder.reported(values)
        if clock.due(config.log.every) or clock.finished:
            with clock.stopwatch("logging"):
                clock.show(now=True)
                for recorder in recorders:
                    recorder.log()
                clock.stopwatch.reset()

    def _evaluate(self) -> list[Mapping[str, Any]]:
        clock, scores = self._recorder, []
        video = clock.due(self._config.evaluation.video_every) or clock.finished
        for i, member in enumerate(self._members):
            with member.blamed():
                agent = self._trainer.agent(i)
                scores.append(member.evaluate(agent, clock.env_step, video=video))
        return scores

    def _predict(self) -> None:
        if self._peers.index > 0:
            return  # the first process shows what it has
        for i, member in enumerate(self._members):
            batch = self._trainer.last_batch(i)
            member.predict(self._trainer.agent(i).model, batch, self._recorder.env_step)

    def _save_if_due(self) -> None:
        milestone = self._recorder.due(self._config.checkpoint.every)
        overdue = self._peers.lately("overdue", self._checkpointer.overdue())
        if milestone or self._recorder.finished or any(overdue):
            self._save(milestone)

    def _save(self, milestone: bool = False, *, but: Member | None = None) -> None:
        """Begins to save all runs, or those that did not fail."""
        clock = self._recorder
        with clock.stopwatch("checkpoint"):
            self._checkpointer.settle()
            contents = {
                member.archive: Contents(
                    env_step=clock.env_step,
                    update=clock.update,
                    milestone=milestone,
                    agent=self._trainer.agent(i),
                    loop=tree_file.dump(self.get_state(i)),
                    replay=self._trainer.snapshot(i),
                    stopwatch=clock.stopwatch.get_state(),
                    settings=lasting(member.config),
                )
                for i, member in enumerate(self._members)
                if member is not but
            }
            self._checkpointer.begin(contents)

    def _check(self) -> None:
        if any(self._peers.lately("signal", self._interrupts.received)):
            raise Interrupted
