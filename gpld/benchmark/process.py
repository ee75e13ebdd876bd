"""Training in a process of its own, watched from outside until something has happened."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..config import Config, to_dict
from ..errors import MachineError
from ..machine.subprocesses import python_command, python_environment
from .report import host_bytes

_T = TypeVar("_T")

# What `scripts/train.py` does once its arguments are parsed.
_CODE = """
import json, pathlib, sys
from gpld.cli import one_line_errors
from gpld.config import from_dict
from gpld.training.launch import launch
with one_line_errors():
    config = from_dict(json.loads(sys.argv[1]))
    launch(config, pathlib.Path(config.run))
"""


class Watched(NamedTuple):
    """Time and memory that a process took."""

    seconds: float
    """From its start until it had done what was waited for."""

    peak_bytes: int
    """Most memory that it, or one of the processes that it started, has had."""


def train_until(
    config: Config, done: Callable[[], _T | None], *, log: Path, **environment: str
) -> tuple[_T, Watched]:
    """Trains until something has happened, then asks the run to stop and waits for it.

    Args:
        config: Settings; `run` names the folder.
        done: Asked many times a second; something else than None once it has happened.
        log: File for what the process prints.
        **environment: Environment variables to change.

    Returns:
        What `done` returned, and how the process did.

    Raises:
        MachineError: If the run ended before; with its last line.
    """
    command = [*python_command(_CODE), json.dumps(to_dict(config))]
    with log.open("w") as file:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=python_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        with _ended(process) as usage:
            while (result := done()) is None:
                if usage(wait=False) is not None:
                    result = done()  # the last thing that it did
                    break
                time.sleep(0.05)
            seconds = time.perf_counter() - began
            if usage(wait=False) is None:
                os.kill(process.pid, signal.SIGTERM)
            peak = usage(wait=True)
    if result is None or peak is None:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or [
            f"exit code {process.returncode}"
        ]
        raise MachineError(f"A training run ended too early: {lines[-1]}")
    return result, Watched(seconds, host_bytes(peak.ru_maxrss))


@contextlib.contextmanager
def _ended(process: subprocess.Popen) -> Iterator[Callable[..., resource.struct_rusage | None]]:
    """Yield a function that returns the process's usage once it has ended; kill what is left."""
    usage: resource.struct_rusage | None = None

    def take(*, wait: bool) -> resource.struct_rusage | None:
        nonlocal usage
        if usage is None:  # not `Popen.wait`, which does not tell the usage
            pid, status, taken = os.wait4(process.pid, 0 if wait else os.WNOHANG)
            if pid:
                process.returncode, usage = os.waitstatus_to_exitcode(status), taken
        return usage

    try:
        yield take
    finally:
        if usage is None:
            process.kill()
            process.wait()
