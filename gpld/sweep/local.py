"""Jobs on this machine, several at a time."""

import collections
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import Interrupted
from ..machine.signals import Interrupts
from . import job_process
from .job import Job

_POLL_SECONDS = 0.2
_MOST_RESTARTS = 5
# JAX's names for the share of a GPU's memory that a process takes, the new one and the old.
_FRACTIONS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")


class _Running(NamedTuple):
    """A running job."""

    job: Job
    process: subprocess.Popen
    slot: int
    since: float


def run_local(
    jobs: Sequence[Job], *, processes: int, gpus: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """Run jobs until all have ended.

    Each of several processes has its share of the cores, if there are enough. A job that
    was told to stop by somebody else goes on later.

    Args:
        jobs: The jobs.
        processes: How many run at a time.
        gpus: GPUs that the processes share, by CUDA's numbers; none leaves that to JAX.
        say: Takes a line about each event.

    Returns:
        Why each failed job did.

    Raises:
        Interrupted: If a signal ended it; all jobs have saved their runs.
    """
    waiting, running = collections.deque(jobs), list[_Running]()
    restarts = collections.Counter[str]()
    failures, told = list[str](), False
    with Interrupts(say, lambda: "finishing the updates, then saving") as interrupts:
        while (waiting and interrupts.received is None) or running:
            while waiting and len(running) < processes and interrupts.received is None:
                slot = min(set(range(processes)) - {other.slot for other in running})
                running.append(_start(waiting.popleft(), slot, processes, gpus))
                say(f"{running[-1].job.name}: started, log in {running[-1].job.log}")
            time.sleep(_POLL_SECONDS)
            if interrupts.received is not None and not told:
                told = True  # once: a second signal ends a job at once
                for own in running:
                    own.process.terminate()
            for own in [own for own in running if own.process.poll() is not None]:
                running.remove(own)
                code, job = own.process.returncode, own.job
                minutes = (time.monotonic() - own.since) / 60
                if job_process.was_interrupted(code) and restarts[job.name] < _MOST_RESTARTS:
                    restarts[job.name] += 1
                    waiting.append(job)
                    say(f"{job.name}: was told to stop after {minutes:.1f} minutes, goes on later")
                elif reason := job_process.ended(job, code):
                    failures.append(reason)
                    say(f"{job.name}: FAILED after {minutes:.1f} minutes")
                else:
                    say(f"{job.name}: finished after {minutes:.1f} minutes")
        if interrupts.received is not None and waiting:
            raise Interrupted(
                f"{interrupts.received}: {len(waiting)} jobs are left; the same command goes on."
            )
    return failures


def _start(job: Job, slot: int, processes: int, gpus: Sequence[str]) -> _Running:
    """Start a job with the cores and the GPU of a slot."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own = cores[slot::processes] if 1 < processes <= len(cores) else []
    environment = {}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        sharing = -(-processes // len(gpus))
        # Each would take three quarters of the memory. What the user has set stands: with both
        # names set JAX does not start on a GPU, and computes on the processor instead.
        if sharing > 1 and not any(map(os.environ.get, _FRACTIONS)):
            environment[_FRACTIONS[0]] = f"{0.9 / sharing:.3f}"
    process = job_process.start(job, cores=own, environment=environment)
    return _Running(job, process, slot, time.monotonic())
