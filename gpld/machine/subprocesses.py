"""Python code in a process of its own, for what may crash, hang or spoil this one."""

import contextlib
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError

# Code of ours and of others, in which no user would look for a mistake.
_LIBRARIES = [Path(__file__).parents[1], Path(os.__file__).parent]
_INSTALLED = {"site-packages", "dist-packages"}

# Seconds that a child gets to exit before it is killed.
_EXIT_SECONDS = 5


class Outcome(NamedTuple):
    """End of a process."""

    ok: bool
    text: str
    """The last line that it printed, or in one line why it failed."""


def python_command(code: str) -> list[str]:
    """Return the command of a fresh interpreter that runs `code`."""
    # -P: the working directory must not shadow the modules used here.
    return [sys.executable, "-P", "-c", code]


def python_environment(**changes: str) -> dict[str, str]:
    """Return environment variables with which it finds the same modules as this process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **changes}


def run_python(code: str, *, timeout: float, **environment: str) -> Outcome:
    """Run `code` in a fresh interpreter and wait for it.

    Args:
        code: Statements.
        timeout: Seconds after which it is killed, as failed.
        **environment: Environment variables to change.
    """
    try:
        result = subprocess.run(
            python_command(code),
            env=python_environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(False, f"no answer within {timeout:g} s")
    if result.returncode == 0:
        return Outcome(True, _lines(result.stdout)[-1])
    return Outcome(False, failure(result.returncode, result.stderr))


def failure(code: int, text: str) -> str:
    """Say in one line why an interpreter failed.

    Args:
        code: Its exit code, not 0.
        text: What it wrote to stderr.
    """
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return _error(text) or f"exit code {code}"


class Child:
    """A process that runs a function of this package, at the other end of a pipe.

    The process is a fresh interpreter rather than one of `multiprocessing`, which would
    either fork a multithreaded parent or run its main module, and so import JAX, again.
    It exits when the pipe closes: by `close`, or because this process has gone.
    """

    def __init__(
        self,
        function: Callable[[Connection], None],
        *,
        name: str,
        error: type[Exception],
        timeout: float = math.inf,
        quiet: bool = False,
        **environment: str,
    ):
        """Start the process.

        Args:
            function: Runs in the process, with its end of the pipe; a function of a module.
            name: What errors call the process.
            error: What `recv` raises, with a message.
            timeout: Seconds that each answer is waited for, positive.
            quiet: Whether its standard streams are closed to nowhere, not shared with this process.
            **environment: Environment variables to change.
        """
        self._name, self._error, self._timeout = name, error, timeout
        self._connection, remote = Pipe()
        self._limit_waiting(timeout)
        stream = subprocess.DEVNULL if quiet else None
        with remote:
            descriptor = remote.fileno()
            self._process = subprocess.Popen(
                python_command(
                    f"from {__name__} import serve; "
                    f"from {function.__module__} import {function.__name__} as function; "
                    f"serve(function, {descriptor})"
                ),
                env=python_environment(**environment),
                pass_fds=[descriptor],
                stdin=stream,
                stdout=stream,
                stderr=stream,
                # Ctrl-C in the terminal is for the parent, which closes its children.
                start_new_session=True,
            )

    def send(self, message: object) -> None:
        """Send a message, which is pickled."""
        # Into a broken pipe, or one that nobody empties: the next `recv` reports it.
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def recv(self) -> Any:
        """Wait for the next message.

        Raises:
            Exception: That of the constructor, if the process has died, has raised an
                exception, whose traceback is a note, or does not answer in time, which ends it.
            UsageError: If it has raised one.
        """
        try:
            message = self._connection.recv()
        except BlockingIOError:
            self._process.kill()
            self.close()
            reason = f"did not answer within {self._timeout:g} seconds."
            raise self._error(f"{self._name} {reason}") from None
        except (EOFError, OSError):
            self.close()
            code = self._process.returncode
            raise self._error(f"{self._name} died with exit code {code}.") from None
        if isinstance(message, UsageError):
            raise message
        if isinstance(message, _Failure):
            error = self._error(f"{self._name} failed: {message.reason}.")
            error.add_note(message.traceback)
            raise error
        return message

    def hang_up(self) -> None:
        """Tell the process to exit, for which `close` waits."""
        if not self._connection.closed:
            self._connection.close()
            self._deadline = time.monotonic() + _EXIT_SECONDS

    def close(self) -> None:
        """End the process; calling it again does nothing."""
        self.hang_up()
        try:
            self._process.wait(max(0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _limit_waiting(self, seconds: float) -> None:
        """Have reading and writing raise BlockingIOError after a time without progress.

        Unlike `Connection.poll`, this also ends the waiting for the rest of a message.
        """
        whole, part = divmod(min(seconds, 1e9), 1)
        timeval = struct.pack("ll", int(whole), int(1e6 * part))
        with socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.setblocking(True)  # a default timeout of Python's sockets would clear this
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


class _Failure(NamedTuple):
    """An exception in a child, on its way to the parent."""

    reason: str
    traceback: str


def serve(function: Callable[[Connection], None], descriptor: int) -> None:
    """Run in a child: call its function until the parent hangs up.

    Args:
        function: The function.
        descriptor: File descriptor of the child's end of the pipe.
    """
    # Schedulers and terminals signal whole groups of processes. What that means is decided in
    # the parent, which still needs what the child has.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with Connection(descriptor) as connection, telling_failures(connection):
        function(connection)


@contextlib.contextmanager
def telling_failures(connection: Connection) -> Iterator[None]:
    """End with an exception of code in a child, which the parent's `recv` raises."""
    try:
        yield
    except UsageError as error:
        with contextlib.suppress(OSError):
            connection.send(error)
    except (Exception, SystemExit) as error:
        reason = describe_error(error)
        # Nobody reads the report of the EOFError that a closed pipe raises.
        with contextlib.suppress(OSError):
            connection.send(_Failure(reason, traceback.format_exc()))


def describe_error(error: BaseException) -> str:
    """Return an exception in one line, with the last place in code that nobody has installed."""
    reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        known = any(path.is_relative_to(folder) for folder in _LIBRARIES)
        if not known and _INSTALLED.isdisjoint(path.parts) and path.is_file():
            return f"{reason} ({path.name}, line {frame.lineno})"
    return reason


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()] or [""]


def _error(text: str) -> str:
    """Return the last error in what an interpreter wrote, which may write more after it."""
    lines = _lines(text)
    errors = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (errors or lines)[-1].rstrip(".?")
