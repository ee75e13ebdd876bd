"""Stopping when asked to: by Ctrl-C, by a scheduler, or because the terminal is gone."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable

from ..xla.cache import in_work

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")

# A bar hides the cursor of its terminal while it is there.
_SHOW_CURSOR = b"\x1b[?25h\n"


class Interrupts(contextlib.AbstractContextManager):
    """Takes note of SIGINT, SIGTERM and SIGHUP instead of dying of them.

    Those that are ignored (`nohup`, background jobs of a script) stay ignored.

    A second SIGINT ends the process at once, also while a program is being compiled: Python's
    own handlers would run only afterwards, so a thread waits for the signals' numbers. Outside
    the main thread, where Python allows no handlers, nothing is changed.
    """

    def __init__(self, notify: Callable[[str], None]):
        """Begins to listen.

        Args:
            notify: Called with a line about the first signal, from another thread.
        """
        self._notify = notify
        self._received: signal.Signals | None = None
        self._previous = {}
        self._thread: threading.Thread | None = None
        if threading.current_thread() is not threading.main_thread():
            return
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for name in _SIGNALS:
            number = getattr(signal, name, None)  # there is no SIGHUP on Windows
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, _ignore)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def received(self) -> str | None:
        """Name of the first signal that came, None if none did."""
        return None if self._received is None else self._received.name

    def __exit__(self, *_: object) -> None:
        """Leaves signals to those who handled them before."""
        if self._thread is None:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)
        self._thread = None

    def _listen(self) -> None:
        while number := os.read(self._reader, 1):
            if number[0] not in self._previous:
                continue
            if self._received is None:
                self._received = signal.Signals(number[0])
                self._notify(f"{self._received.name}: {_next()}; a second Ctrl-C ends it at once")
            elif number[0] == signal.SIGINT:
                with contextlib.suppress(OSError):
                    if os.isatty(1):
                        os.write(1, _SHOW_CURSOR)
                os._exit(128 + signal.SIGINT)


def _next() -> str:
    """What happens until the run has ended."""
    work = in_work()
    if work is None:
        return "finishing the update, then saving"
    return f"{work.stage} {work.name.strip('_')}, which cannot be broken off, then saving"


def _ignore(*_: object) -> None:
    """A handler that does nothing, so that the signal's number goes to the pipe."""
