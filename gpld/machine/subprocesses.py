"""Python code in a process of its own, for what may crash, hang or spoil this one."""

import os
import signal
import subprocess
import sys
from typing import NamedTuple


class Outcome(NamedTuple):
    """How a process ended."""

    ok: bool
    text: str
    """The last line that it printed, or in one line why it failed."""


def python_command(code: str) -> list[str]:
    """A fresh interpreter that runs `code`."""
    # -P: the working directory must not shadow the modules used here.
    return [sys.executable, "-P", "-c", code]


def python_environment(**changes: str) -> dict[str, str]:
    """Environment variables with which it finds the same modules as this process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **changes}


def run_python(code: str, *, timeout: float, **environment: str) -> Outcome:
    """Runs `code` in a fresh interpreter and waits for it.

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
    if result.returncode < 0:
        return Outcome(False, f"killed by {signal.Signals(-result.returncode).name}")
    return Outcome(False, _error(result.stderr) or f"exit code {result.returncode}")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()] or [""]


def _error(text: str) -> str:
    """The last error in what an interpreter wrote, which may write more after it."""
    lines = _lines(text)
    errors = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (errors or lines)[-1].rstrip(".?")
