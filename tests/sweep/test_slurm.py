"""Jobs through submitit, with its local executor in the place of SLURM."""

import dataclasses
import json
import math
import signal
import time

import psutil
import pytest
import submitit
from run_folders import write_run

from gpld.commands.sweep import main as sweep
from gpld.runs.folder import RunFolder
from gpld.sweep import Sweep, plan
from gpld.sweep.job import record
from gpld.sweep.slurm import SlurmOptions, _executor, submit, wait

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
    grid = Sweep(
        tasks=["probe_memory"],
        arms={"good": {}, "bad": {"init.from": "nowhere"}},
        seeds=[0],
        preset="debug",
        settings=SETTINGS,
    )
    record(grid, tmp_path)
    return plan(grid, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": 0.01}, r"`slurm.hours` must be finite and at least a minute \(1/60\), got 0.01"),
        ({"hours": 0.0}, "`slurm.hours`"),
        ({"hours": -1.0}, "`slurm.hours`"),
        ({"hours": math.nan}, "`slurm.hours`"),
        ({"hours": math.inf}, "`slurm.hours`"),
        ({"hours": 1.0, "warning_seconds": 3600}, "`slurm.warning_seconds` must be .*less than"),
        ({"warning_seconds": 0}, "`slurm.warning_seconds` must be positive"),
        ({"warning_seconds": -5}, "`slurm.warning_seconds` must be positive"),
        ({"gpus": -1}, "`slurm.gpus` must be at least 0, got -1"),
        ({"cpus": 0}, "`slurm.cpus` must be at least 1, got 0"),
        ({"memory_gb": 0}, "`slurm.memory_gb` must be at least 1, got 0"),
        ({"at_a_time": 0}, "`slurm.at_a_time` must be at least 1, got 0"),
        ({"requeues": -1}, "`slurm.requeues` must be at least 0, got -1"),
    ],
)
def test_options_that_mean_something_else_to_slurm_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SlurmOptions(**options)


def test_the_shortest_job_asks_for_a_minute(tmp_path):
    options = SlurmOptions(hours=1 / 60, warning_seconds=30)
    assert _executor(tmp_path, options, "local", 1).parameters["timeout_min"] == 1


def test_bad_options_are_one_line(tmp_path, capsys):
    (tmp_path / "x.toml").write_text('tasks = ["walker_run"]\nseeds = [0]\n[arms.a]\n')
    with pytest.raises(SystemExit) as exit:
        sweep([str(tmp_path / "x.toml"), "--slurm.hours", "nan"])
    output = capsys.readouterr()
    assert (exit.value.code, output.out, output.err.count("\n")) == (2, "", 1)
    assert "`slurm.hours` must be finite" in output.err


def descendants(submitted):
    processes = psutil.Process(submitted._process.pid).children(recursive=True)
    return [process for process in processes if len(process.cmdline()) > 3]


@pytest.mark.slow
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
    (program,) = (p for p in descendants(submitted[0]) if "gpld.commands.job" in p.cmdline()[3])
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
