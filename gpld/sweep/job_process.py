"""Processes of jobs: how they are started, and how they ended."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import Interrupted
from ..machine.subprocesses import python_command, python_environment
from .job import Job

# By its name: commands start sweeps.
_PROGRAM = "gpld.commands.job"
_SHOWN = 5  # last lines of a log that tell why a job failed


def start(
    job: Job,
    *,
    cores: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    evaluates: bool = True,
) -> subprocess.Popen:
    """Start the process of a job; what it prints is appended to its log.

    Args:
        job: The job.
        cores: Cores that it may use; all if none is given.
        environment: Environment variables to change.
        evaluates: Whether it evaluates what is trained, as one of several processes does.
    """
    order = {
        "parent": os.getpid(),
        "cores": list(cores),
        "path": str(job.path),
        "train": [] if job.trained else job.flags,
        "task": job.config.task,
        "evaluate": [str(run) for run in job.runs if job.evaluation_episodes and evaluates],
        "episodes": job.evaluation_episodes,
        "platform": job.config.platform,
        "deterministic": job.config.deterministic,
    }
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.failure.unlink(missing_ok=True)
    with job.log.open("a") as log:
        return subprocess.Popen(
            [*python_command(f"from {_PROGRAM} import main; main()"), json.dumps(order)],
            env=python_environment(**(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to the sweep, which tells its jobs
        )


def ended(job: Job, code: int) -> str | None:
    """Return why a job failed, None if it has done its work; also noted beside its log.

    Args:
        job: The job.
        code: Exit code of its process.
    """
    if code == 0 and job.finished:
        return None
    why = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
    if code == 0:
        why = "it ended without an error, but is not finished"
    reason = "\n".join([f"{job.name}: {why}; the last lines of {job.log}:", *last_lines(job.log)])
    job.failure.write_text(reason + "\n", encoding="utf-8")
    return reason


def was_interrupted(code: int) -> bool:
    """Return whether a process ended because it was told to, and can go on."""
    return code in (Interrupted.exit_code, -signal.SIGTERM)


def last_lines(log: Path) -> list[str]:
    """Return the end of a log, indented."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return [f"    {line.rstrip()}" for line in lines if line.strip()][-_SHOWN:]
