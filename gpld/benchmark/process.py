"""Training in a process of its own, watched from outside until something has happened."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
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
    began = time.perf_counter()
    process = start_training(config, log=log, **environment)
    result, usage = None, None
    try:
        while result is None and usage is None:
            time.sleep(0.05)
            usage = _usage(process, os.WNOHANG)
            result = done()  # also after its end: it may be the last thing that it did
        seconds = time.perf_counter() - began
        if usage is None:
            os.kill(process.pid, signal.SIGTERM)
            usage = _usage(process)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if result is None or usage is None:
        raise ended_too_early(process, log)
    return result, Watched(seconds, host_bytes(usage.ru_maxrss))


def start_training(config: Config, *, log: Path, **environment: str) -> subprocess.Popen:
    """Start a training run in a process of its own.

    Args:
        config: Settings; `run` names the folder.
        log: File for what the process prints.
        **environment: Environment variables to change.
    """
    with log.open("w") as file:
        return subprocess.Popen(
            [*python_command(_CODE), json.dumps(to_dict(config))],
            env=python_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def ended_too_early(process: subprocess.Popen, log: Path) -> MachineError:
    """Return an error with the last line of a training run that should have gone on."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = lines[-1] if lines else f"exit code {process.returncode}"
    return MachineError(f"A training run ended too early: {last}")


def _usage(process: subprocess.Popen, options: int = 0) -> resource.struct_rusage | None:
    """Return what a process has used, which `Popen.wait` does not tell; None while it runs."""
    pid, status, usage = os.wait4(process.pid, options)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage
