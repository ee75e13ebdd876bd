"""Output to the terminal that never ends a program: closed streams, encodings, full disks."""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


def prepare() -> None:
    """Make the standard streams accept every character, also where they are closed.

    A character that the encoding lacks is shown as `?`. A stream that was closed before the
    program began is opened to nowhere: the next file that is opened would have its number
    otherwise, and receive what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest number that is free is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # as child processes expect
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):  # not what a test or a notebook puts in its place
            stream.reconfigure(errors="replace")
    atexit.unregister(_flush)
    atexit.register(_flush)


def show(text: str, *, stream: Any = None) -> None:
    """Print lines, unless the stream is closed.

    Args:
        text: The lines.
        stream: Where they go; None is the standard output of the moment.
    """
    own = sys.stdout if stream is None else stream
    with unseen(own):
        print(text, file=own, flush=True)


def one_line(text: str) -> str:
    """Escape line breaks and what terminals take for commands, which names of files may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextlib.contextmanager
def unseen(stream: Any) -> Iterator[None]:
    """Ignore errors of a stream: a closed terminal, a full disk.

    Where nobody reads any more, as behind `head`, all that follows goes nowhere.
    """
    try:
        yield
    except BrokenPipeError:
        to_nowhere(stream)
    except (OSError, ValueError):
        pass


def to_nowhere(stream: Any) -> None:
    """Redirect a stream to nowhere, with what it still holds."""
    with contextlib.suppress(OSError, ValueError):  # no file, or closed
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def _flush() -> None:
    """Flush the streams, so that Python's own attempt cannot fail and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            to_nowhere(stream)
