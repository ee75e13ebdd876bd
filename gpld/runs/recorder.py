"""The clocks of a run, and what it shows and writes about itself."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from ..config import Config
from ..envs import TimeStep
from ..errors import MachineError, UsageError
from ..units import count
from .console import RunConsole
from .folder import RunFolder
from .metrics import EpisodeTracker, MeanMetrics, Stopwatch, Sums
from .sinks import Sink


class Recorder(contextlib.AbstractContextManager):
    """Counts env steps and updates, and keeps console, run folder and sinks up to date.

    Attributes:
        env_step: Env steps collected, over all environments.
        update: Updates made.
        skipped: Updates of these that changed nothing, because something was not finite.
        restarts: Failures of environments, after which the run went on.
        stopwatch: Where the time goes, since the last lines of metrics.
    """

    env_step: int
    update: int
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
        """Starts at env step 0.

        Args:
            config: Settings.
            folder: Where lines are written.
            console: Where progress is shown, of all runs that are trained together.
            stopwatch: Times them all.
            sinks: Where lines go besides; closed in the end.
            label: What messages begin with.
        """
        self.env_step = self.update = self.skipped = self.restarts = 0
        self.stopwatch = stopwatch
        self._config, self._folder, self._console = config, folder, console
        self._sinks, self._say = sinks, console.speaker(label)
        self._episodes, self._metrics = EpisodeTracker(config.share.env.num_envs), MeanMetrics()
        self._scores: list[float] = []
        self._draws = True
        self._diagnostics: dict[str, float] = {}
        self._logged_at = self._failures_shown = 0

    @property
    def finished(self) -> bool:
        """Whether the run has all its env steps."""
        return self.env_step >= self._config.env_steps

    def due(self, every: int) -> bool:
        """Whether the last env steps passed a multiple of `every`; never if that is 0."""
        before = self.env_step - self._config.env.num_envs
        return every > 0 and self.env_step // every > before // every

    def advance(self) -> None:
        """Counts one env step of every environment."""
        self.env_step += self._config.env.num_envs

    def stepped(self, step: TimeStep, interrupted: Bool[np.ndarray, " env"]) -> None:
        """Takes note of one env step of every environment.

        Args:
            step: The time step.
            interrupted: Where an episode ends for no reason of the task's; it has no score.
        """
        self.advance()
        for episode in self._episodes.add(step, interrupted):
            self._append("episodes", episode._asdict())
            self._scores.append(episode.score)
            self._console.episode(episode.score, self.env_step)

    def restarted(self, restarts: int, failures: Sequence[str]) -> None:
        """Takes note of environments that have failed.

        Args:
            restarts: How often in the whole run.
            failures: What has happened since it was started last.
        """
        for message in failures[self._failures_shown :]:
            self._say(message)
        self.restarts, self._failures_shown = restarts, len(failures)

    def updated(self, metrics: dict[str, Float[Array, ""]]) -> None:
        """Takes note of an update, without waiting for its metrics."""
        self._metrics.add(metrics)
        self._console.updated()
        self.update += 1

    @property
    def sums(self) -> Sums:
        """Of the metrics that were not logged yet; empty if there are none."""
        return self._metrics.sums

    def updated_elsewhere(self, updates: int, sums: Sums) -> None:
        """Takes note of updates whose metrics a program has added to `sums`.

        Args:
            updates: Updates made so far.
            sums: What the sums have become.
        """
        if updates > self.update:
            self._metrics.sums = sums
            self._console.updated()
        self.update = updates

    def evaluated(self, line: Mapping[str, Any]) -> None:
        """Writes and shows the scores of an evaluation, and redraws the learning curve."""
        from ..analysis import learning_curve  # half a second that the start can do without

        self._append("scores", line)
        if self._draws:
            try:
                learning_curve(self._folder)
            except (UsageError, MachineError) as error:
                self._draws = False
                self._say(f"no learning curve: {error}")
        self._say(
            f"evaluation at env step {self.env_step:,}: return {line['mean']:.1f} "
            f"± {line['std']:.1f} over {count(len(line['scores']), 'episode')}"
        )

    def reported(self, diagnostics: dict[str, Float[Array, ""]]) -> None:
        """Takes note of diagnostics, which enter the next line of metrics."""
        self._diagnostics = {k: float(v) for k, v in jax.device_get(diagnostics).items()}

    def show(self, now: bool = False) -> None:
        """Shows the progress, unless that was just done; `now` shows it anyway."""
        elapsed, seconds = self.stopwatch.read()
        self._console.progress(
            self.env_step,
            self.update,
            env_steps_per_second=(self.env_step - self._logged_at) / elapsed,
            shares={part: value / elapsed for part, value in seconds.items()},
            now=now,
        )

    def log(self) -> None:
        """Writes a line of metrics about everything since the line before.

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
        self._append("metrics", line)
        self._scores, self._diagnostics, self._logged_at = [], {}, self.env_step

    def get_state(self) -> dict[str, Any]:
        """Clocks and whatever has not been written yet."""
        return {
            "env_step": self.env_step,
            "update": self.update,
            "skipped": self.skipped,
            "restarts": self.restarts,
            "logged_at": self._logged_at,
            "scores": self._scores,
            "diagnostics": self._diagnostics,
            "episodes": self._episodes.get_state(),
            "metrics": self._metrics.get_state(),
        }

    def set_state(self, state: Mapping[str, Any], *, timed: bool) -> None:
        """Goes on from what `get_state` gave.

        Args:
            state: That.
            timed: Whether the stopwatch goes on as well; its env steps begin here otherwise.
        """
        self.env_step, self.update = state["env_step"], state["update"]
        self.skipped, self.restarts = state["skipped"], state["restarts"]
        self._logged_at = state["logged_at"] if timed else self.env_step
        self._scores, self._diagnostics = state["scores"], state["diagnostics"]
        self._episodes.set_state(state["episodes"])
        self._metrics.set_state(state["metrics"])

    def __exit__(self, *_: object) -> None:
        """Closes the sinks."""
        for sink in self._sinks:
            sink.close()

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        """Writes a line that begins with the three clocks."""
        frame = self.env_step * self._config.env.action_repeat
        clocks = {"env_step": self.env_step, "frame": frame, "update": self.update}
        self._folder.append(name, [{**clocks, **line}])
        numbers = {k: v for k, v in line.items() if isinstance(v, float | int)}
        for sink in self._sinks:
            sink.write(name, clocks, numbers)
