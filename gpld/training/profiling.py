"""Profiler: a trace of some updates, with what host and device do at which time."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import jax

# Updates before the trace, in which programs are compiled and pages of memory first used.
_FIRST = 10


class Profiler(contextlib.AbstractContextManager):
    """Records a trace of some updates, once the first ones are over.

    The trace holds the parts of the loop under the names of the `Stopwatch`, each update with
    its number, and what the device does. It covers whole rounds of the loop: all updates that
    follow the env steps in it. As a context manager it ends a trace under way.
    """

    def __init__(self, folder: Path, updates: int, say: Callable[[str], None]):
        """Record nothing yet.

        Args:
            folder: Where the trace goes.
            updates: Updates to trace, at least; 0 for none.
            say: Takes lines about the trace.
        """
        self._folder, self._left, self._say = folder, updates, say
        self._end: int | None = None
        self._first: int | None = None

    def round(self, update: int) -> None:
        """Start or end the trace, where a round of the loop begins.

        Args:
            update: Updates made so far.
        """
        if self._first is None:
            self._first = update
        if self._end is not None and update >= self._end:
            self._stop()
        elif self._left > 0 and update - self._first >= _FIRST:
            self._start(update)

    def __exit__(self, *_: object) -> None:
        """End the trace if it is under way, and say so if there is none."""
        if self._end is not None:
            self._stop()
        elif self._left > 0:
            self._say(f"no trace: the run ended within its first {_FIRST} updates")

    def _start(self, update: int) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of Python would hide what matters
        self._end, self._left = update + self._left, 0
        with self._warning():
            self._folder.mkdir(exist_ok=True)  # without parents: a run may have been moved away
            jax.profiler.start_trace(
                self._folder, create_perfetto_trace=True, profiler_options=options
            )

    def _stop(self) -> None:
        self._end = None
        with self._warning():
            jax.profiler.stop_trace()
            [*_, trace] = sorted(self._folder.glob("plugins/profile/*/perfetto_trace.json.gz"))
            self._say(
                f"trace       {trace}: open it at https://ui.perfetto.dev, or run `tensorboard "
                f"--logdir {self._folder}` with the plugin xprof"
            )

    @contextlib.contextmanager
    def _warning(self):
        """Turn errors of the trace into a warning: they must not stop the training."""
        try:
            yield
        except Exception as error:
            self._end, self._left = None, 0
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self._say(f"no trace: {reason}")
