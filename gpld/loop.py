"""The training loop: collect, update, then look at how it goes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from . import tree_file
from .checkpointer import Checkpointer, Contents
from .collection import Collector
from .config import Config
from .errors import Interrupted
from .experience import train_ratio
from .learning import Learner
from .profiling import Profiler
from .recorder import Recorder
from .replay import Replay


class Loop:
    """What a run does from its first env step to its last.

    Its state can be taken between any two of its steps; a loop that goes on from there does
    what this one would have done.
    """

    def __init__(
        self,
        config: Config,
        collector: Collector,
        replay: Replay,
        learner: Learner,
        recorder: Recorder,
        checkpointer: Checkpointer,
        profiler: Profiler,
        *,
        evaluate: Callable[..., Mapping[str, Any]],
        report: Callable[..., Any],
        interrupted: Callable[[], str | None],
    ):
        """Puts the parts of a run together.

        Args:
            config: Settings.
            collector: Where experience comes from.
            replay: Where it is kept.
            learner: What learns from it.
            recorder: Clocks, and what is written.
            checkpointer: Saves the run.
            profiler: Told of every round.
            evaluate: `evaluate(state, env_step, video=)`, the scores of the agent; may raise
                `Interrupted`.
            report: `report(state, batch)`, diagnostics of the world model.
            interrupted: Name of the signal that asks the run to stop, if there is one.
        """
        self._config = config
        self._collector, self._replay, self._learner = collector, replay, learner
        self._recorder, self._checkpointer = recorder, checkpointer
        self._profiler = profiler
        self._evaluate, self._report, self._interrupted = evaluate, report, interrupted
        self._ratio = train_ratio(config)
        # Whether everything is done that follows the last env steps.
        self._settled = True

    @property
    def finished(self) -> bool:
        """Whether all env steps are made, and everything that follows them."""
        return self._settled and self._recorder.finished

    def run(self) -> None:
        """Goes on to the end.

        Raises:
            Interrupted: If a signal asked for it; the run is saved.
            MachineError: If something cannot be written, or numbers are not finite.
            WorkerError: If environments failed too often.
        """
        try:
            while not self.finished:
                self._profiler.round(self._recorder.update)
                if self._settled:
                    self._collector.collect(self._learner.state.model)
                    self._settled = False
                self._update()
                self._settle()
                self._settled = True
                self._save_if_due()
        except Interrupted:
            self._save()
            self._checkpointer.wait()
            raise Interrupted(
                f"{self._interrupted()} ended the run at env step {self._recorder.env_step:,}; it "
                "is saved, and the same command goes on with it."
            ) from None
        self._checkpointer.wait()

    def get_state(self) -> dict[str, Any]:
        """All that a checkpoint holds besides the agent and the replay."""
        return {
            "settled": self._settled,
            "recorder": self._recorder.get_state(),
            "learner": self._learner.get_state(),
            "collector": self._collector.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        self._settled = state["settled"]
        self._recorder.set_state(state["recorder"])
        self._learner.set_state(state["learner"])
        self._collector.set_state(state["collector"])

    def _update(self) -> None:
        """Makes the updates that are due."""
        while self._recorder.update < self._ratio.updates_due(self._recorder.env_step):
            self._check()
            with jax.profiler.StepTraceAnnotation("step", step_num=self._recorder.update):
                self._learner.update()
            self._recorder.show()
        with self._recorder.stopwatch("update"):
            self._learner.wait()
        self._recorder.show()
        self._check()

    def _settle(self) -> None:
        """Evaluates, reports and logs, where that is due."""
        recorder, learner, config = self._recorder, self._learner, self._config
        evaluates = config.learn == "agent"  # a policy that is not trained is not evaluated
        if evaluates and (recorder.due(config.evaluation.every) or recorder.finished):
            with recorder.stopwatch("evaluation"):
                video = recorder.due(config.evaluation.video_every) or recorder.finished
                scores = self._evaluate(learner.state, recorder.env_step, video=video)
            with recorder.stopwatch("logging"):
                recorder.evaluated(scores)
        if recorder.due(config.log.report_every) and learner.batch is not None:
            with recorder.stopwatch("report"):
                recorder.reported(self._report(learner.state, learner.batch))
        if recorder.due(config.log.every) or recorder.finished:
            with recorder.stopwatch("logging"):
                recorder.log()

    def _save_if_due(self) -> None:
        milestone = self._recorder.due(self._config.checkpoint.every)
        if milestone or self._recorder.finished or self._checkpointer.overdue():
            self._save(milestone)

    def _save(self, milestone: bool = False) -> None:
        recorder = self._recorder
        with recorder.stopwatch("checkpoint"):
            self._checkpointer.settle()
            contents = Contents(
                env_step=recorder.env_step,
                update=recorder.update,
                milestone=milestone,
                agent=self._learner.state,
                loop=tree_file.dump(self.get_state()),
                replay=self._checkpointer.store.snapshot(self._replay),
            )
            self._checkpointer.begin(contents)

    def _check(self) -> None:
        if self._interrupted():
            raise Interrupted
