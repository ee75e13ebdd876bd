"""The process of a job: trains, then evaluates; and how it is started and watched."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..analysis.scores import CHECKPOINT_SCORES
from ..errors import Interrupted
from ..machine.files import lock, open_to_append
from ..machine.subprocesses import python_command, python_environment
from .job import Job, evaluated

_CODE = "from gpld.sweep.program import main; main()"
_PR_SET_PDEATHSIG = 1
_SHOWN = 5  # last lines of a log that tell why a program failed


def start(
    job: Job,
    *,
    cores: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    evaluates: bool = True,
) -> subprocess.Popen:
    """Starts the process of a job; what it prints is appended to its log.

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
        "evaluate": [str(run) for run in job.runs if job.evaluation_episodes and evaluates],
        "episodes": job.evaluation_episodes,
        "platform": job.config.platform,
        "deterministic": job.config.deterministic,
    }
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.failure.unlink(missing_ok=True)
    with job.log.open("a") as log:
        return subprocess.Popen(
            [*python_command(_CODE), json.dumps(order)],
            env=python_environment(**(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to the sweep, which tells its programs
        )


def ended(job: Job, code: int) -> str | None:
    """Why a program failed, None if it has done its work; also noted beside its log.

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
    """Whether a process ended because it was told to, and can go on."""
    return code in (Interrupted.exit_code, -signal.SIGTERM)


def last_lines(log: Path) -> list[str]:
    """The end of a log, indented."""
    if not log.exists():
        return []
    lines = [
        line.rstrip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return [f"    {line}" for line in lines if line][-_SHOWN:]


def main() -> None:
    """What the process of a job does."""
    _leave_warnings_to_the_parent()
    order = json.loads(sys.argv[1])
    _end_with(order["parent"])
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])
    # Loaded where they are needed: each takes a second.
    if order["train"]:
        from ..commands.train import main as train

        _wait_for_others(Path(order["path"]))
        train(order["train"])
    if order["evaluate"]:
        from ..cli import choose_platform
        from ..commands.evaluate import main as evaluate

        choose_platform(order["platform"], deterministic=order["deterministic"])
        for run in map(Path, order["evaluate"]):
            if not evaluated(run, order["episodes"]):
                out = run / CHECKPOINT_SCORES
                episodes = ["--episodes", str(order["episodes"])]
                evaluate([str(run), *episodes, "--out", str(out)])


def _leave_warnings_to_the_parent() -> None:
    """Ignores what a cluster warns a job with, and sends to all its processes.

    It would end this one before it has saved; the parent sends SIGTERM for it.
    """
    for name in ("SIGUSR1", "SIGUSR2"):
        if number := getattr(signal, name, None):  # there are none on Windows
            signal.signal(number, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    """Saves and ends when the sweep is killed, where the system can tell (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed before that call
            sys.exit(Interrupted.exit_code)


def _wait_for_others(path: Path) -> None:
    """Waits while a process of a sweep that was killed is still saving its run."""
    if not (path / "run.lock").exists():
        return
    with open_to_append(path / "run.lock") as file:
        for _ in range(600):
            if lock(file, lambda _: None):  # training says it
                return
            time.sleep(1)
