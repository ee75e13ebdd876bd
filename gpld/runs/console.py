"""Console of a run: a progress bar on a terminal, plain lines elsewhere."""

import contextlib
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from ..config import Config
from ..config.train_ratio import train_ratio
from ..machine.output import show, unseen
from ..units import count
from ..xla import cache
from ..xla.cache import InWork

FIRST_UPDATE = "first update after"

_INDENT = 12  # of what is said, behind what it is about
_BAR = 8
# Seconds: between two looks at what is compiled; from which it is said, and again without a
# terminal; after which XLA, which raises its alarm at two minutes, is silenced.
_LOOK, _SAID, _AGAIN, _SILENCED = 0.5, 2.0, 60.0, 60.0


class RunConsole(contextlib.AbstractContextManager):
    """Shows progress in env steps and updates, with the time left, rates and returns."""

    def __init__(self, config: Config, num_runs: int = 1):
        """Opens the display.

        Args:
            config: Settings of the run, or of each that are trained together.
            num_runs: How many these are.
        """
        ratio, num_envs = train_ratio(config), config.env.num_envs
        self._total, self._first_env_step = config.env_steps, ratio.first_env_step
        self._total_updates = ratio.updates_due(-(-config.env_steps // num_envs) * num_envs)
        self._began = time.monotonic()
        self._console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._shown = self._began
        self._updated = False
        self._paced_from: tuple[float, int, int] | None = None
        self._scores: deque[float] = deque(maxlen=10 * num_runs)
        self._scored_at = 0
        self._said: InWork | None = None
        self._sentence = ""  # about it, on a terminal
        self._bar = Progress(
            BarColumn(_BAR),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=self._total)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def print(self, text: str) -> None:
        """Prints lines that stay, unless nobody can see them any more.

        A terminal's are wrapped between words, and go on under what was said first.
        """
        if not self._console.is_terminal:
            show(text)
            return
        with unseen(self._console.file):
            for line in text.splitlines():
                self._console.print(
                    textwrap.fill(
                        line,
                        self._console.width,
                        subsequent_indent=" " * _INDENT,
                        break_long_words=False,  # paths and commands stay whole
                        break_on_hyphens=False,
                        replace_whitespace=False,
                    )
                )

    def speaker(self, label: str) -> Callable[[str], None]:
        """Return a `print` for one of several runs, whose lines begin with a label."""
        return lambda text: self.print(label + text)

    def updated(self) -> None:
        """Note an update; the first also shows how long everything before it took."""
        if not self._updated:
            seconds = time.monotonic() - self._began
            self.print(f"{FIRST_UPDATE} {seconds:.0f} s")
        self._updated = True

    def episode(self, score: float, env_step: int) -> None:
        """Note the return of a training episode, and when it ended."""
        self._scores.append(score)
        self._scored_at = env_step

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
        if self._updated and self._paced_from is None:
            since = time.monotonic() - cache.seconds_of_work()
            self._paced_from = (since, env_step, update)
        terminal = self._console.is_terminal
        if not now and time.monotonic() - self._shown < (0.5 if terminal else 60.0):
            return
        self._shown = time.monotonic()
        parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        texts = [
            self._left(env_step, update),
            f"env step {env_step:,}/{self._total:,}",
            self._return(env_step),
            count(update, "update"),
            f"{env_steps_per_second:.1f} env steps/s",
            f"({parts})",
        ]
        if terminal:
            text = _fitting(texts, self._console.width - _BAR - 1)
            self._draw(text, env_step)
        else:
            self.print(" | ".join(texts[:-1]) + f" {texts[-1]}")

    def _left(self, env_step: int, update: int) -> str:
        """Estimate the time left from the pace of updates so far, evaluations included.

        Env steps without updates say nothing about it, nor does what was compiled.
        """
        if env_step >= self._total:
            return "done"
        if update == 0:
            return f"updates from env step {self._first_env_step:,} on"
        since, first_env_step, first = self._paced_from or (0.0, env_step, update)
        seconds = self._shown - cache.seconds_of_work() - since
        left = self._total_updates - update
        if update > first and left > 0:
            seconds *= left / (update - first)
        elif env_step > first_env_step and left <= 0:
            seconds *= (self._total - env_step) / (env_step - first_env_step)
        else:
            return "time left unknown"
        return f"{timedelta(seconds=round(max(seconds, 0)))} left"

    def _return(self, env_step: int) -> str:
        """Format the mean of the last returns, and how old the last of them is."""
        if not self._scores:
            return "no return yet"
        age = env_step - self._scored_at
        old = f" ({count(age, 'env step')} ago)" if age > 0 else ""
        return f"return {np.mean(self._scores):.1f}{old}"

    def _watch(self) -> None:
        """Watch compilations from a thread of its own, since the others wait for them."""
        try:
            while not self._ended.wait(_LOOK):
                self.look(cache.in_work())
        finally:
            cache.silence(False)

    def look(self, work: InWork | None) -> None:
        """Show what is being compiled, if it takes long."""
        cache.silence(work is not None and work.seconds > _SILENCED)
        if work is None or work.seconds < _SAID:
            self._said = None
            return
        if self._console.is_terminal:
            if self._said is None or work[:2] != self._said[:2]:  # files say how long it takes
                self._said, self._sentence = work, _said(work)
            text = f"{self._sentence}: {timedelta(seconds=int(work.seconds))} so far"
            self._draw(_fitting([text], self._console.width - _BAR - 1))
        elif work.stage == "compiling":  # where it is traced alone it was compiled before
            if self._said is None or work.name != self._said.name:
                self.print(_said(work))
                self._said = work
            elif work.seconds - self._said.seconds >= _AGAIN:
                self.print(f"compiling {_name(work)}: {work.seconds:.0f} s so far")
                self._said = work

    def _draw(self, text: str, env_step: int | None = None) -> None:
        """Change the bar, which appears as soon as it has something to show."""
        with unseen(self._console.file):
            self._bar.update(self._task, description=text, completed=env_step)
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        """Closes the display; what was printed stays."""
        self._ended.set()
        self._thread.join()
        with unseen(self._console.file):
            self._bar.stop()


def outlook() -> str:
    """Say what happens until a run that was asked to stop has ended."""
    work = cache.in_work()
    if work is None:
        return "finishing the update, then saving"
    return f"{work.stage} {_name(work)}, which cannot be broken off, then saving"


def _fitting(texts: Sequence[str], width: int) -> str:
    """Join the first text with those of the others for which there is room."""
    shown, *others = texts
    for text in others:
        if len(shown) + len(text) + 3 <= width:
            shown += f" | {text}"
    return shown[:width]


def _name(work: InWork) -> str:
    return work.name.strip("_")


def _said(work: InWork) -> str:
    """Describe what is done to a program, and how long that took here before."""
    if work.stage != "compiling":
        return f"{work.stage} {_name(work)}"
    usual = cache.usual_seconds(work.name)
    if usual is None:
        return f"compiling {_name(work)}, for the first time here: it can take minutes"
    least, most = usual
    return f"compiling {_name(work)}, usually {f'{least} to ' if least < most else ''}{most} s here"
