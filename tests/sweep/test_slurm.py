"""Jobs through submitit, with its local executor in the place of SLURM."""

import dataclasses
import json
import pickle
import signal
import time

import psutil
import pytest
import submitit
from run_folders import write_run

from gpld.run_folder import RunFolder
from gpld.sweep import Sweep, plan
from gpld.sweep.job import record
from gpld.sweep.slurm import SlurmOptions, Submission, submit, wait

# Enough that submitit takes a signal for a preemption and not for the end of the time.
OPTIONS = SlurmOptions(hours=2.0, cpus=1, gpus=0, memory_gb=1, warning_seconds=10)
SETTINGS = {
    "env_steps": 400,
    "env.action_repeat": 1,
    "checkpoint.every": 1000,
    "log.every": 10,
    "log.tensorboard": False,
    "log.report_every": 0,
    "platform": "cpu",
    "gpld.lambda0": 0.0,
}


@pytest.fixture
def jobs(tmp_path):
    sweep = Sweep(
        tasks=["probe_memory"],
        arms={"good": {}, "bad": {"init.from": "nowhere"}},
        seeds=[0],
        preset="debug",
        settings=SETTINGS,
    )
    record(sweep, tmp_path)
    return plan(sweep, tmp_path)


def descendants(submitted):
    processes = psutil.Process(submitted._process.pid).children(recursive=True)
    return [process for process in processes if len(process.cmdline()) > 3]


def test_jobs_end_and_failures_are_reported(jobs, tmp_path):
    done, bad = jobs
    # A run that is complete, and a command that its program refuses at once.
    write_run(done.path, done.config, [(400, [1.0])])
    bad = dataclasses.replace(bad, flags=("--nonsense", "1"))
    submitted = submit([done, bad], tmp_path, OPTIONS, cluster="local")
    assert [job.result() for job in submitted[:1]] == [done.name]
    (failure,) = wait([done, bad], submitted)
    assert failure.startswith(f"{bad.name}: exit code 2; the last lines of {bad.log}:\n")
    assert "    error: Unknown flag --nonsense" in failure
    assert bad.failure.read_text().rstrip() == failure
    with pytest.raises(submitit.core.utils.FailedJobError, match="exit code 2"):
        submitted[1].result()
    ids = json.loads((tmp_path / "slurm" / "submitted.json").read_text())
    assert ids == {job.name: own.job_id for job, own in zip(jobs, submitted, strict=True)}


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_a_failing_one_reported(jobs, tmp_path):
    submitted = submit(jobs, tmp_path, OPTIONS, cluster="local")
    good, bad = jobs
    folder = RunFolder(good.path)
    for _ in range(2000):
        if folder.read("metrics"):
            break
        time.sleep(0.05)
    # SLURM tells every process of the job. The program leaves a warning to submitit; submitit
    # ignores SIGTERM, and the program saves and ends.
    (program,) = (p for p in descendants(submitted[0]) if "gpld.sweep.program" in p.cmdline()[3])
    program.send_signal(signal.SIGUSR2)
    program.terminate()
    (failure,) = wait(jobs, submitted)
    assert failure.startswith("bad/probe_memory/seed0: exit code 2; the last lines of ")
    assert "    error: " in failure
    assert bad.failure.exists()
    assert good.finished
    steps = [line["env_step"] for line in folder.read("metrics")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
    assert sum("resumed  " in line for line in good.log.read_text().splitlines()) == 1


def test_submissions_are_pickled_without_their_process(jobs):
    submission = Submission(jobs[0])
    submission._process = object()  # pyright: ignore[reportAttributeAccessIssue]
    again = pickle.loads(pickle.dumps(submission))
    assert again._process is None
    assert again._job == dataclasses.replace(jobs[0])
