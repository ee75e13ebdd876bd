"""Environments in a process of their own."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
from jaxtyping import Float32

from .group import EnvGroup
from .timestep import Environment, EnvSpec, TimeStep

# Seconds that a worker gets to finish its step and exit before it is killed.
_EXIT_SECONDS = 5


class WorkerError(RuntimeError):
    """A worker process failed or died; the message says which one and why.

    Where an exception was the cause, a note carries its traceback.
    """


class Worker:
    """An `EnvGroup` in another process, which steps it between `send` and `recv`.

    The process is a fresh interpreter rather than one of `multiprocessing`, which would
    either fork a multithreaded parent or run its main module, and so import JAX, again.
    It exits when the pipe closes: by `close`, or because this process has gone.
    """

    num_envs: int

    def __init__(self, factory: Callable[..., Environment], seeds: Sequence[int], *, name: str):
        """Starts the process; `spec` tells when it is ready.

        Args:
            factory: Makes an environment from a keyword argument `seed`; pickled.
            seeds: One per environment, at least one.
            name: What errors call the worker.
        """
        self.num_envs = len(seeds)
        self._name = name
        self._connection, remote = Pipe()
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
    def spec(self) -> EnvSpec:
        """Sizes of the task; waits until the environments are made.

        Raises:
            WorkerError: If making them failed.
        """
        return self._recv()

    def send(self, action: Float32[np.ndarray, "num_envs action"]) -> None:
        """Starts a step of every environment."""
        self._send(action)

    def recv(self) -> TimeStep:
        """Waits for the step that `send` has started.

        Raises:
            WorkerError: If an environment raised an exception or the process died.
        """
        return self._recv()

    def close(self) -> None:
        """Ends the process; calling it again does nothing."""
        self._connection.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        # Into a broken pipe: the worker is dead, as the next `_recv` reports.
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def _recv(self):
        try:
            reply = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            code = self._process.returncode
            raise WorkerError(f"{self._name} died with exit code {code}.") from None
        if isinstance(reply, WorkerError):
            raise reply
        return reply


_SERVE = "from gpld.envs.worker import serve; serve({})"


def serve(descriptor: int) -> None:
    """Runs in the worker: makes its environments, then steps them on request.

    Args:
        descriptor: File descriptor of the worker's end of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        name = "Worker"
        try:
            factory, seeds, name = connection.recv()
            group = EnvGroup([factory(seed=seed) for seed in seeds])
            connection.send(group.spec)
            while True:
                group.send(connection.recv())
                connection.send(group.recv())
        except Exception as error:
            report = WorkerError(f"{name} failed: {type(error).__name__}: {error}")
            report.add_note(traceback.format_exc())
            # Nobody reads the report of the EOFError that a closed pipe raises.
            with contextlib.suppress(OSError):
                connection.send(report)
