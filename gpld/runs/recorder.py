"""Recorder of a run: what it shows on the console and writes to its folder and sinks."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from ..config import Config
from ..envs import TimeStep
from ..units import count
from .clock import Clock
from .console import RunConsole
from .folder import RunFolder
from .metrics import EpisodeTracker, MeanMetrics, Stopwatch, Sums
from .sinks import Sink


class Recorder(contextlib.AbstractContextManager):
    """Keeps console, run folder and sinks up to date; is told the clock, never asked.

    Attributes:
        skipped: Updates that changed nothing, because something was not finite.
        restarts: Failures of environments, after which the run went on.
        stopwatch: Where the time goes, since the last lines of metrics.
    """

    skipped: int
    restarts: int
    stopwatch: Stopwatch

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        console: RunConsole,
        stopwatch: Stopwatch,
        sinks: Sequence[Sink] = (),
        label: str = "",
    ):
        """Start at env step 0.

        Args:
            config: Settings.
            folder: Where lines are written.
            console: Where progress is shown, of all runs that are trained together.
            stopwatch: Times them all.
            sinks: Where lines go besides; closed in the end.
            label: What messages begin with.
        """
        self.skipped = self.restarts = 0
        self.stopwatch = stopwatch
        self._config, self._folder, self._console = config, folder, console
        self._sinks, self._say = sinks, console.speaker(label)
        self._episodes, self._metrics = EpisodeTracker(config.share.env.num_envs), MeanMetrics()
        self._scores: list[float] = []
        self._diagnostics: dict[str, float] = {}
        self._logged_at = self._failures_shown = 0

    def stepped(self, clock: Clock, step: TimeStep, interrupted: Bool[np.ndarray, " env"]) -> None:
        """Record one env step of every environment.

        Args:
            clock: The time after it.
            step: The time step.
            interrupted: Where an episode ends for no reason of the task's; it has no score.
        """
        for episode in self._episodes.add(step, interrupted):
            self._append(clock, "episodes", episode._asdict())
            self._scores.append(episode.score)
            self._console.episode(episode.score, clock.env_step)

    def restarted(self, restarts: int, failures: Sequence[str]) -> None:
        """Record failures of environments, and show the new ones.

        Args:
            restarts: How often in the whole run.
            failures: What has happened since it was started last.
        """
        for message in failures[self._failures_shown :]:
            self._say(message)
        self.restarts, self._failures_shown = restarts, len(failures)

    def updated(self, metrics: dict[str, Float[Array, ""]]) -> None:
        """Add an update's metrics, without waiting for them."""
        self._metrics.add(metrics)
        self._console.updated()

    @property
    def sums(self) -> Sums:
        """Sums of the metrics that were not logged yet; empty if there are none.

        A program that adds up metrics itself takes them and sets what they have become.
        """
        return self._metrics.sums

    @sums.setter
    def sums(self, sums: Sums) -> None:
        self._metrics.sums = sums
        self._console.updated()

    def evaluated(self, clock: Clock, line: Mapping[str, Any]) -> None:
        """Write and show the scores of an evaluation."""
        self._append(clock, "scores", line)
        self._say(
            f"evaluation at env step {clock.env_step:,}: return {line['mean']:.1f} "
            f"± {line['std']:.1f} over {count(len(line['scores']), 'episode')}"
        )

    def reported(self, diagnostics: dict[str, Float[Array, ""]]) -> None:
        """Keep diagnostics for the next line of metrics."""
        self._diagnostics = {k: float(v) for k, v in jax.device_get(diagnostics).items()}

    def show(self, clock: Clock, *, now: bool = False) -> None:
        """Show the progress, unless that was just done; `now` shows it anyway."""
        elapsed, seconds = self.stopwatch.read()
        self._console.progress(
            *clock,
            env_steps_per_second=(clock.env_step - self._logged_at) / elapsed,
            shares={part: value / elapsed for part, value in seconds.items()},
            now=now,
        )

    def log(self, clock: Clock) -> None:
        """Write a line of metrics about everything since the line before.

        The stopwatch goes on; it is for whoever calls to reset it.
        """
        elapsed, seconds = self.stopwatch.read()
        values = self._metrics.pop() | self._diagnostics
        line = {f"train/{name}": value for name, value in values.items()}
        if self._scores:
            line["episode/score"] = float(np.mean(self._scores))
        line |= {"faults/skipped_updates": self.skipped, "faults/env_restarts": self.restarts}
        line["time/seconds"] = elapsed
        line |= {f"time/share/{part}": value / elapsed for part, value in seconds.items()}
        self._append(clock, "metrics", line)
        self._scores, self._diagnostics, self._logged_at = [], {}, clock.env_step

    def get_state(self) -> dict[str, Any]:
        """Return counts and whatever has not been written yet."""
        return {
            "skipped": self.skipped,
            "restarts": self.restarts,
            "logged_at": self._logged_at,
            "scores": self._scores,
            "diagnostics": self._diagnostics,
            "episodes": self._episodes.get_state(),
            "metrics": self._metrics.get_state(),
        }

    def set_state(self, state: Mapping[str, Any], *, since: int | None = None) -> None:
        """Go on from a state.

        Args:
            state: The result of `get_state`.
            since: Env step from which rates are counted, if the stopwatch begins anew.
        """
        self.skipped, self.restarts = state["skipped"], state["restarts"]
        self._logged_at = state["logged_at"] if since is None else since
        self._scores, self._diagnostics = state["scores"], state["diagnostics"]
        self._episodes.set_state(state["episodes"])
        self._metrics.set_state(state["metrics"])

    def __exit__(self, *_: object) -> None:
        """Close the sinks."""
        for sink in self._sinks:
            sink.close()

    def _append(self, clock: Clock, name: str, line: Mapping[str, Any]) -> None:
        """Write a line that begins with the three clocks."""
        frame = clock.env_step * self._config.action_repeat
        clocks = {"env_step": clock.env_step, "frame": frame, "update": clock.update}
        self._folder.append(name, [{**clocks, **line}])
        numbers = {k: v for k, v in line.items() if isinstance(v, float | int)}
        for sink in self._sinks:
            sink.write(name, clocks, numbers)
