"""Stages of the training loop that follow env steps: evaluate, report, log, save."""

from collections.abc import Callable, Sequence
from typing import Any

from ..checkpoints import tree_file
from ..checkpoints.retention import Contents, Start
from ..checkpoints.writer import Checkpointer
from ..config import Config, lasting
from ..envs import WorkerError
from ..errors import Interrupted, UsageError
from ..machine.signals import Interrupts
from ..parallel.hosts import Processes
from ..runs.clock import Clock
from .seed_run import SeedRun
from .trainer import Trainer


class Stages:
    """Evaluates, reports, logs and saves the runs between calls of `advance` of the trainer."""

    def __init__(
        self,
        config: Config,
        runs: Sequence[SeedRun],
        trainer: Trainer,
        checkpointer: Checkpointer,
        *,
        report: Callable[..., Sequence[Any]],
        interrupts: Interrupts,
        processes: Processes,
    ):
        """Put the parts together.

        Args:
            config: Settings.
            runs: One run per seed.
            trainer: Brings the runs forward.
            checkpointer: Saves the runs.
            report: `report(state, batch)`, diagnostics of each world model.
            interrupts: Signals that ask to stop.
            processes: Processes of the run, all of which stop after the same update.
        """
        self._config, self._runs, self._trainer = config, runs, trainer
        self._checkpointer, self._report = checkpointer, report
        self._interrupts, self._processes = interrupts, processes
        self._stopwatch = runs[0].recorder.stopwatch

    def raise_if_interrupted(self) -> None:
        """Stop where a signal asked any of the processes for it.

        Raises:
            Interrupted: If one did.
        """
        if any(self._processes.latest("signal", self._interrupts.received)):
            raise Interrupted

    def interruption(self) -> Interrupted:
        """Return the error that says which signal ended the run, and where."""
        signal = self._interrupts.received or "A signal to another process"
        env_step = self._trainer.clock.env_step
        return Interrupted(f"{signal} ended the run at env step {env_step:,}; it is saved.")

    def evaluate(self, *, video: bool) -> None:
        """Evaluate the agents, unless world models learn alone, and draw what these predict."""
        clock = self._trainer.clock
        if self._config.learn == "agent":
            with self._stopwatch("evaluation"):
                # All before any score is written: after a failure they are evaluated again.
                scores = []
                for i, run in enumerate(self._runs):
                    with run.failing_as(saved=WorkerError):
                        agent = self._trainer.agent(i)
                        scores.append(run.evaluate(agent, clock.env_step, video=video))
            with self._stopwatch("logging"):
                for run, score in zip(self._runs, scores, strict=True):
                    run.recorder.evaluated(clock, score)
                    run.pictures.learning_curve()
        if self._processes.index == 0:
            with self._stopwatch("report"):
                for i, run in enumerate(self._runs):
                    model, batch = self._trainer.agent(i).model, self._trainer.last_batch(i)
                    run.pictures.predictions(model, batch, clock.env_step)

    def report(self) -> None:
        """Compute diagnostics of the world models on the last batch, if there was one."""
        batch = self._trainer.batch
        if batch is None:
            return
        with self._stopwatch("report"):
            diagnostics = self._report(self._trainer.state, batch)
            for run, values in zip(self._runs, diagnostics, strict=True):
                run.recorder.reported(values)

    def log(self) -> None:
        """Show the progress and write a line of metrics for each run."""
        with self._stopwatch("logging"):
            self._runs[0].recorder.show(self._trainer.clock, now=True)
            for run in self._runs:
                run.recorder.log(self._trainer.clock)
            self._stopwatch.reset()

    def is_checkpoint_old(self) -> bool:
        """Return whether the last checkpoint of any process is older than settings allow."""
        return any(self._processes.latest("overdue", self._checkpointer.overdue()))

    def save(
        self, served: int, *, milestone: bool = False, excluding: SeedRun | None = None
    ) -> None:
        """Begin to save all runs, while the training goes on.

        Args:
            served: Env step whose evaluation, report and log are done.
            milestone: Whether it is one of the checkpoints whose agent may be kept.
            excluding: A run that failed and cannot be saved.
        """
        trainer, kept = self._trainer, milestone and self._keeps_agent()
        with self._stopwatch("checkpoint"):
            self._checkpointer.finish_previous()
            contents = {}
            for i, run in enumerate(self._runs):
                if run is excluding:
                    continue
                manifest = {
                    **trainer.clock._asdict(),
                    "keep_agent": kept,
                    # What is logged from here on comes after the checkpoint.
                    "logs": run.folder.log_sizes(),
                    # Not in `loop`, whose bits are the same wherever the run was stopped.
                    "stopwatch": self._stopwatch.get_state(),
                    "settings": lasting(run.config),
                }
                loop = tree_file.dump(self._get_state(i, served))
                contents[run.archive] = Contents(
                    trainer.agent(i), loop, trainer.snapshot(i), manifest
                )
            self._checkpointer.begin(contents)

    def wait(self) -> None:
        """Wait for what is being saved.

        Raises:
            MachineError: If it could not be saved.
        """
        self._checkpointer.wait()

    def resume(self, starts: Sequence[Start]) -> int:
        """Go on from the checkpoints of one moment, one per run.

        Returns:
            The env step whose evaluation, report and log are done.

        Raises:
            UsageError: If they do not hold the state of such runs.
        """
        states = [start.loop or {} for start in starts]
        stopwatch = starts[0].manifest.get("stopwatch")
        try:
            recorder_states = [state["recorder"] for state in states]
            clock = Clock(recorder_states[0]["env_step"], recorder_states[0]["update"])
            # Older checkpoints have no stopwatch: the time before them is in no line of metrics.
            since = clock.env_step if stopwatch is None else None
            for run, state in zip(self._runs, recorder_states, strict=True):
                run.recorder.set_state(state, since=since)
            if stopwatch is not None:
                self._stopwatch.set_state(stopwatch)
            self._trainer.set_states(clock, states)
            # Less than the env step if what is due after it is still to be done.
            return clock.env_step - (0 if states[0]["settled"] else self._config.env.num_envs)
        except (LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"{starts[0].path} does not hold the state of such a run: {error!r:.100}."
            ) from error

    def _keeps_agent(self) -> bool:
        """Return whether the agent of a milestone made now is kept for good."""
        settings = self._config.checkpoint
        number = self._trainer.clock.env_step // settings.every
        return settings.keep_every > 0 and number % settings.keep_every == 0

    def _get_state(self, index: int, served: int) -> dict[str, Any]:
        """Return all that a checkpoint of one run holds besides its agent and its replay."""
        clock = self._trainer.clock
        return {
            "settled": served == clock.env_step,
            "recorder": clock._asdict() | self._runs[index].recorder.get_state(),
            **self._trainer.get_state(index),
        }
