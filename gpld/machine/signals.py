"""Signals that ask a run to stop: Ctrl-C, a scheduler's, or that of a closed terminal."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# A bar hides the cursor of its terminal while it is there.
_SHOW_CURSOR = b"\x1b[?25h\n"


class Interrupts(contextlib.AbstractContextManager):
    """Catches SIGINT, SIGTERM and SIGHUP, which end the process otherwise.

    Those that are ignored (`nohup`, background jobs of a script) stay ignored.

    A second SIGINT ends the process at once, also while a program is being compiled: Python's
    own handlers would run only afterwards, so a thread waits for the signals' numbers. Outside
    the main thread, where Python allows no handlers, nothing is changed.

    Attributes:
        received: Name of the first signal that came, None if none did.
    """

    def __init__(self, notify: Callable[[str], None], outlook: Callable[[], str]):
        """Begin to listen.

        Args:
            notify: Called with a line about the first signal, from another thread.
            outlook: Says what happens until the run has ended, for that line.
        """
        self._notify, self._outlook = notify, outlook
        self.received: str | None = None
        self._previous = {}
        self._thread: threading.Thread | None = None
        if threading.current_thread() is not threading.main_thread():
            return
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, _ignore)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Give the signals back to their handlers."""
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
            if self.received is None:
                self.received = signal.Signals(number[0]).name
                outlook = self._outlook()
                self._notify(f"{self.received}: {outlook}; a second Ctrl-C ends it at once")
            elif number[0] == signal.SIGINT:
                with contextlib.suppress(OSError):
                    if os.isatty(1):
                        os.write(1, _SHOW_CURSOR)
                os._exit(128 + signal.SIGINT)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP wait for the end of a block.

    An interrupt within `subprocess.Popen` would leave a process running that nobody knows.
    Outside the main thread, which alone is interrupted, nothing is changed.
    """
    caught: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


def _ignore(*_: object) -> None:
    """Do nothing, so that the number of the signal goes to the pipe."""
