"""What a run shows while it goes on: a bar on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class RunConsole(contextlib.AbstractContextManager):
    """Shows progress in env steps, with rates, returns and the time left."""

    def __init__(self, total_env_steps: int):
        """Opens the display.

        Args:
            total_env_steps: Length of the run.
        """
        self._total = total_env_steps
        self._began = time.monotonic()
        self._console = Console(soft_wrap=True, highlight=False)
        self._score: float | None = None
        self._bar = Progress(
            BarColumn(20),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total_env_steps)
        self._bar.start()

    def print(self, text: str) -> None:
        """Prints a line that stays."""
        self._console.print(text, markup=False)

    def progress(
        self,
        env_step: int,
        update: int,
        *,
        scores: list[float],
        elapsed: float,
        env_steps: int,
        shares: Mapping[str, float],
    ) -> None:
        """Shows where the run is.

        Args:
            env_step: Env steps collected so far.
            update: Updates made so far.
            scores: Returns of the training episodes that ended since the last call.
            elapsed: Seconds since the last call.
            env_steps: Env steps collected since the last call.
            shares: Part of those seconds that went into each part of the loop.
        """
        if scores:
            self._score = sum(scores) / len(scores)
        left = (time.monotonic() - self._began) * (self._total - env_step) / env_step
        text = " | ".join(
            [
                f"env step {env_step:,}/{self._total:,}",
                f"{update:,} updates",
                "return -" if self._score is None else f"return {self._score:.1f}",
                f"{env_steps / elapsed:.0f} env steps/s ("
                + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
                + ")",
                f"{_duration(left)} left",
            ]
        )
        self._bar.update(self._task, completed=env_step, description=text)
        if not self._console.is_terminal:
            self.print(text)

    def __exit__(self, *_: object) -> None:
        """Closes the display; what was printed stays."""
        self._bar.stop()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
