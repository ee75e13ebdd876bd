"""Jobs on a cluster: SLURM array jobs through submitit, requeued when they are preempted."""

import contextlib
import dataclasses
import math
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ..config.checks import Bound, at_least, check, check_fields
from ..errors import MachineError, UsageError
from ..machine.files import read_json, write_json
from . import job_process
from .job import Job

_IDS = "slurm/submitted.json"


# Of less than a minute SLURM is asked for 0, which it takes for no limit.
_HOURS = Bound("finite and at least a minute (1/60)", lambda hours: 1 <= 60 * hours < math.inf)


@dataclasses.dataclass(frozen=True)
class SlurmOptions:
    """Resources of each job on the cluster."""

    partition: str | None = None
    """Partition; None takes the cluster's own choice."""

    account: str | None = None
    """Account that is charged."""

    hours: Annotated[float, _HOURS] = 24.0
    """Wall time of a job, after which it is requeued and goes on."""

    cpus: Annotated[int, at_least(1)] = 8
    """Cores."""

    gpus: Annotated[int, at_least(0)] = 1
    """GPUs."""

    memory_gb: Annotated[int, at_least(1)] = 32
    """Memory in GB."""

    at_a_time: Annotated[int, at_least(1)] = 256
    """Jobs of the array that may run at the same time."""

    warning_seconds: int = 120
    """Seconds before its end at which a job is told to save."""

    requeues: Annotated[int, at_least(0)] = 100
    """How often a job may reach the end of its wall time."""

    def __post_init__(self):
        check_fields(self, "slurm.")
        check(
            0 < self.warning_seconds < 3600 * self.hours,
            "slurm.warning_seconds",
            f"positive, and less than the job's {3600 * self.hours:g}",
            self.warning_seconds,
        )


class Submission:
    """Job for submitit: a process that is told to save before the cluster takes over.

    Of a job with several nodes every node runs it.
    """

    def __init__(self, job: Job):
        """Take the job."""
        self._job = job
        self._process: subprocess.Popen | None = None

    def __call__(self) -> str:
        """Run the job.

        Returns:
            Its name.

        Raises:
            MachineError: If it failed; with the last lines that it printed.
        """
        from submitit import JobEnvironment

        is_first = JobEnvironment().global_rank == 0
        self._process = job_process.start(self._job, evaluates=is_first)
        code = self._process.wait()
        if job_process.was_interrupted(code):  # by a signal to the whole job: it is preempted
            self._requeue()
        elif (is_first or code != 0) and (reason := job_process.ended(self._job, code)):
            raise MachineError(reason)
        return self._job.name

    def checkpoint(self) -> Any:
        """Tell the process to save; called by submitit when the job is about to end."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            # This interrupts `Popen.wait`, whose lock it must not wait for.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Submission(self._job))

    def _requeue(self) -> None:
        """Do what submitit does when the cluster warns it: `checkpoint`, requeue, end."""
        from submitit.core.job_environment import JobEnvironment

        os.kill(os.getpid(), JobEnvironment._usr_sig())
        time.sleep(60)  # the handler ends the process of the first task; others follow it


def submit(
    jobs: Sequence[Job],
    root: Path,
    options: SlurmOptions,
    *,
    cluster: Literal["slurm", "local"] = "slurm",
) -> list[Any]:
    """Submit jobs as an array; those of an earlier call that are waiting or running stay.

    Args:
        jobs: The jobs.
        root: Folder of the sweep.
        options: What is asked for.
        cluster: slurm, or local for processes that behave like it.

    Returns:
        submitit's job of each.

    Raises:
        UsageError: If submitit is not installed.
        MachineError: If the cluster cannot be reached.
    """
    try:
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise UsageError("`--where slurm` needs submitit: install `gpld[slurm]`.") from None
    processes = {job.config.distributed.processes for job in jobs}
    if len(processes) > 1:
        raise UsageError(
            f"`distributed.processes` must be the same in all arms on SLURM, got {processes}."
        )
    try:
        executor = _executor(root, options, cluster, num_nodes=processes.pop())
        with executor.batch():
            submitted = [executor.submit(Submission(job)) for job in jobs]
    except (RuntimeError, OSError, FailedJobError) as error:
        raise MachineError(f"SLURM took no jobs: {error}") from error
    ids = {job.name: own.job_id for job, own in zip(jobs, submitted, strict=True)}
    write_json(root / _IDS, _ids(root) | ids)
    return submitted


def _executor(root: Path, options: SlurmOptions, cluster: str, num_nodes: int) -> Any:
    """Make submitit's executor for some nodes, each of which trains a part of every run."""
    import submitit

    executor = submitit.AutoExecutor(
        root / "slurm", cluster=cluster, slurm_max_num_timeout=options.requeues
    )
    wanted = {
        "name": root.name,
        "timeout_min": int(60 * options.hours),
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus,
        "mem_gb": options.memory_gb,
        "nodes": num_nodes,
        "tasks_per_node": 1,
        "slurm_partition": options.partition,
        "slurm_account": options.account,
        "slurm_array_parallelism": options.at_a_time,
        "slurm_signal_delay_s": options.warning_seconds,
    }
    executor.update_parameters(**{k: v for k, v in wanted.items() if v is not None})
    return executor


def in_queue(jobs: Sequence[Job], root: Path) -> dict[str, str]:
    """Return SLURM's numbers of jobs that were submitted and have not ended, by name.

    Raises:
        MachineError: If the cluster cannot be asked.
    """
    ids = {job.name: own for job in jobs if (own := _ids(root).get(job.name)) is not None}
    if not ids:
        return {}
    # Asks the controller itself: not every cluster keeps accounts, which submitit would need.
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MachineError(f"SLURM does not tell what is in its queue: {error}") from error
    return {name: own for name, own in ids.items() if own in result.stdout.split()}


def wait(jobs: Sequence[Job], submitted: Sequence[Any]) -> list[str]:
    """Wait until all jobs have ended.

    Args:
        jobs: The jobs.
        submitted: What `submit` has returned for them.

    Returns:
        Why each failed job did.
    """
    failures = []
    for job, own in zip(jobs, submitted, strict=True):
        own.wait()
        if job.failure.exists():
            failures.append(job.failure.read_text(encoding="utf-8").rstrip())
        elif not job.finished:
            failures.append(f"{job.name}: SLURM ended it ({own.state}); see {own.paths.stderr}")
    return failures


def _ids(root: Path) -> dict[str, str]:
    path = root / _IDS
    return read_json(path) if path.exists() else {}
