"""What a run shows while it goes on: a bar on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .compilations import Reuse, reuse

FIRST_UPDATE = "first update after"


class RunConsole(contextlib.AbstractContextManager):
    """Shows progress in env steps, with rates, returns and the time left."""

    def __init__(self, total_env_steps: int, num_runs: int = 1, *, pictures: bool = False):
        """Opens the display.

        Args:
            total_env_steps: Length of the run, or of each that are trained together.
            num_runs: How many these are.
            pictures: Whether a picture is drawn at every env step.
        """
        self._rate = "env steps and pictures/s" if pictures else "env steps/s"
        self._total = total_env_steps
        self._began = time.monotonic()
        self._console = Console(soft_wrap=True, highlight=False)
        self._shown = self._began
        self._paced_from = (self._began, 0)
        self._updated = False
        self._scores: deque[float] = deque(maxlen=10 * num_runs)
        self._bar = Progress(
            BarColumn(20),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total_env_steps)
        self._bar.start()

    def print(self, text: str) -> None:
        """Prints a line that stays, unless nobody can see it any more."""
        with contextlib.suppress(OSError):  # a closed terminal or pipe, a log on a full disk
            self._console.print(text, markup=False)

    def speaker(self, label: str) -> Callable[[str], None]:
        """`print` for one of several runs, whose lines begin with a label."""
        return lambda text: self.print(label + text)

    def resumed(self, env_step: int) -> None:
        """Takes note that the run has not begun now but goes on."""
        self._paced_from = (self._began, env_step)

    def updated(self, env_step: int) -> None:
        """Says at the first update how long the compilation took, which the rest will not."""
        if not self._updated:
            now = time.monotonic()
            self.print(f"{FIRST_UPDATE} {now - self._began:.0f} s{_origin(reuse())}")
            self._paced_from = (now, env_step)
        self._updated = True

    def episode(self, score: float) -> None:
        """Takes note of the return of a training episode."""
        self._scores.append(score)

    def progress(
        self,
        env_step: int,
        update: int,
        *,
        env_steps_per_second: float,
        shares: Mapping[str, float],
        now: bool = False,
    ) -> None:
        """Shows where the run is, unless it has just done so.

        Args:
            env_step: Env steps collected so far.
            update: Updates made so far.
            env_steps_per_second: Recent rate.
            shares: Part of the recent time that went into each part of the loop.
            now: Whether to show it however recently it was shown.
        """
        pause = 0.5 if self._console.is_terminal else 60.0
        if not now and time.monotonic() - self._shown < pause:
            return
        self._shown = time.monotonic()
        left = (self._total - env_step) / self._pace(env_step, env_steps_per_second)
        score = f"{np.mean(self._scores):.1f}" if self._scores else "-"
        parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        text = " | ".join(
            [
                f"env step {env_step:,}/{self._total:,}",
                f"{update:,} updates",
                f"return {score}",
                f"{env_steps_per_second:.1f} {self._rate} ({parts})",
                f"{timedelta(seconds=round(max(left, 0)))} left",
            ]
        )
        self._bar.update(self._task, completed=env_step, description=text)
        if not self._console.is_terminal:
            self.print(text)

    def _pace(self, env_step: int, recent: float) -> float:
        """Env steps per second, evaluations included; the recent rate where there are none yet."""
        since, first = self._paced_from
        done = env_step - first
        return done / (self._shown - since) if done > 0 else max(recent, 1e-9)

    def __exit__(self, *_: object) -> None:
        """Closes the display; what was printed stays."""
        self._bar.stop()


def _origin(reuse: Reuse | None) -> str:
    """Where the compiled programs came from, if that is known."""
    if reuse is None:
        return ""
    if reuse.from_cache == reuse.programs:
        return f"; all {reuse.programs} programs were compiled before"
    return (
        f"; {reuse.from_cache} of {reuse.programs} programs were compiled before, and later runs "
        "reuse the others"
    )
