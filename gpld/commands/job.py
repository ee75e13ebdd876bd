"""Process of a sweep's job: trains, then evaluates. `gpld.sweep.job_process` starts it."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from ..analysis.scores import CHECKPOINT_SCORES
from ..errors import Interrupted
from ..machine.files import lock, open_to_append
from ..sweep.job import evaluated

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Train, then evaluate, as the order in the only argument says."""
    _leave_warnings_to_the_parent()
    order = json.loads(sys.argv[1])
    _end_with(order["parent"])
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])
    # Loaded where they are needed: each takes a second.
    if order["train"]:
        from .train import main as train

        _wait_for_others(Path(order["path"]))
        train(order["train"])
    if order["evaluate"]:
        from ..cli import choose_platform
        from .evaluate import main as evaluate

        choose_platform(order["platform"], deterministic=order["deterministic"])
        for run in map(Path, order["evaluate"]):
            if not evaluated(run, order["episodes"]):
                out = f"--out={run / CHECKPOINT_SCORES}"
                # The file of the sweep, which the user has named, names the task.
                task = f"--task={order['task']}"
                evaluate([str(run), f"--episodes={order['episodes']}", out, task])


def _leave_warnings_to_the_parent() -> None:
    """Ignore what a cluster warns a job with, and sends to all its processes.

    It would end this one before it has saved; the parent sends SIGTERM for it.
    """
    for name in ("SIGUSR1", "SIGUSR2"):
        if number := getattr(signal, name, None):  # there are none on Windows
            signal.signal(number, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    """Save and end when the sweep is killed, where the system can tell (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed before that call
            sys.exit(Interrupted.exit_code)


def _wait_for_others(path: Path) -> None:
    """Wait while a process of a sweep that was killed is still saving its run."""
    if not (path / "run.lock").exists():
        return
    with open_to_append(path / "run.lock") as file:
        for _ in range(600):
            if lock(file, lambda _: None):  # training says it
                return
            time.sleep(1)
