"""Environments in a process of their own."""

import contextlib
import functools
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
from jaxtyping import Bool, Float32

from ..timestep import Environment, EnvSpec, EnvState, TimeStep
from .group import EnvGroup, Group

# Seconds that a worker gets to finish its step and exit before it is killed.
_EXIT_SECONDS = 5


class WorkerError(RuntimeError):
    """Environments failed, because a process died or hung or a number is not finite.

    The message says which and why.

    Where an exception was the cause, a note carries its traceback.
    """


class Worker(Group):
    """An `EnvGroup` in another process, which steps it between `send` and `recv`.

    The process is a fresh interpreter rather than one of `multiprocessing`, which would
    either fork a multithreaded parent or run its main module, and so import JAX, again.
    It exits when the pipe closes: by `close`, or because this process has gone.

    Whatever waits for the process raises a `WorkerError` if the process has died, if it
    does not answer in time, which ends it, or if an environment has raised an exception.
    """

    num_envs: int

    def __init__(
        self,
        factory: Callable[..., Environment],
        seeds: Sequence[int],
        *,
        name: str,
        timeout: float = math.inf,
    ):
        """Starts the process; `spec` tells when it is ready.

        Args:
            factory: Makes an environment from a keyword argument `seed`; pickled.
            seeds: One per environment, at least one.
            name: What errors call the worker.
            timeout: Seconds that each answer is waited for, positive.
        """
        self.num_envs = len(seeds)
        self._name = name
        self._timeout = timeout
        self._connection, remote = Pipe()
        _limit_waiting(self._connection, timeout)
        with remote:
            descriptor = remote.fileno()
            self._process = subprocess.Popen(
                # -P: the working directory must not shadow the modules used here.
                [sys.executable, "-P", "-c", _SERVE.format(descriptor)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[descriptor],
                # Ctrl-C in the terminal is for the parent, which closes its workers.
                start_new_session=True,
            )
        self._send((factory, seeds, name))

    @functools.cached_property
    def spec(self) -> EnvSpec:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sizes of the task; waits until the environments are made."""
        return self._recv()

    def send(
        self,
        action: Float32[np.ndarray, "num_envs action"],
        skip: Bool[np.ndarray, " num_envs"],
        reset: Bool[np.ndarray, " num_envs"] | None = None,
    ) -> None:
        """Starts a step of every environment but those to `skip`."""
        self._send(("step", action, skip, reset))

    def recv(self) -> TimeStep:
        """Waits for the step that `send` has started."""
        return self._recv()

    def get_states(self) -> list[EnvState]:
        """State of each environment in order; not between `send` and `recv`."""
        self._send(("get_states",))
        return self._recv()

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continues from `states`, one per environment; not between `send` and `recv`."""
        self._send(("set_states", states))
        self._recv()

    def hang_up(self) -> None:
        """Tells the process to exit, for which `close` waits."""
        if not self._connection.closed:
            self._connection.close()
            self._deadline = time.monotonic() + _EXIT_SECONDS

    def close(self) -> None:
        """Ends the process; calling it again does nothing."""
        self.hang_up()
        try:
            self._process.wait(max(0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        # Into a broken pipe, or one that nobody empties: the next `_recv` reports it.
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def _recv(self):
        try:
            reply = self._connection.recv()
        except BlockingIOError:
            self._process.kill()
            self.close()
            message = f"{self._name} did not answer within {self._timeout:g} seconds."
            raise WorkerError(message) from None
        except (EOFError, OSError):
            self.close()
            code = self._process.returncode
            raise WorkerError(f"{self._name} died with exit code {code}.") from None
        if isinstance(reply, WorkerError):
            raise reply
        return reply


def _limit_waiting(connection: Connection, seconds: float) -> None:
    """Makes reading and writing raise BlockingIOError after a time without progress.

    Unlike `Connection.poll`, this also ends the waiting for the rest of a message.
    """
    whole, part = divmod(min(seconds, 1e9), 1)
    timeval = struct.pack("ll", int(whole), int(1e6 * part))
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setblocking(True)  # a default timeout of Python's sockets would clear this
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


_SERVE = "from gpld.envs.vector.worker import serve; serve({})"


def serve(descriptor: int) -> None:
    """Runs in the worker: makes its environments, then steps them on request.

    Args:
        descriptor: File descriptor of the worker's end of the pipe.
    """
    # Schedulers and terminals signal whole groups of processes. What that means is decided in
    # the process that trains: it still needs the state of these environments.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        name = "Worker"
        try:
            factory, seeds, name = connection.recv()
            group = EnvGroup([factory(seed=seed) for seed in seeds])
            connection.send(group.spec)
            while True:
                connection.send(_answer(group, *connection.recv()))
        except Exception as error:
            report = WorkerError(f"{name} failed: {type(error).__name__}: {error}")
            report.add_note(traceback.format_exc())
            # Nobody reads the report of the EOFError that a closed pipe raises.
            with contextlib.suppress(OSError):
                connection.send(report)


def _answer(group: EnvGroup, request: str, *arguments):
    match request:
        case "step":
            group.send(*arguments)
            return group.recv()
        case "get_states":
            return group.get_states()
        case "set_states":
            return group.set_states(*arguments)
