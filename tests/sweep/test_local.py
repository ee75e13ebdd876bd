"""Real sweeps on this machine: killed, resumed, with failures, with several seeds a program."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpld.analysis.scores import read_runs
from gpld.commands.sweep import main as sweep
from gpld.runs.folder import RunFolder
from gpld.sweep import job_process, plan, read_sweep
from gpld.sweep.local import run_local

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep.py"
SETTINGS = """
preset = "debug"
tasks = ["probe_memory"]
seeds = [0, 1]
{more}

[settings]
env_steps = 300
env.action_repeat = 1
evaluation.every = 100
checkpoint.every = 20
log.every = 20
log.tensorboard = false
log.report_every = 0
platform = "cpu"

[arms.DreamerV3]
gpld.lambda0 = 0.0
"""


def written(tmp_path, more="", arms=""):
    path = tmp_path / "grid.toml"
    path.write_text(SETTINGS.format(more=more) + arms)
    return path


def check_once(run):
    """A run has all its env steps, none of them twice."""
    folder = RunFolder(run)
    assert max(folder.checkpoints()) == 300
    for name in ("metrics", "scores"):
        steps = [line["env_step"] for line in folder.read(name)]
        assert steps == sorted(set(steps))
        assert steps[-1] == 300
    assert [line["env_step"] for line in folder.read("scores")] == [100, 200, 300]


@pytest.mark.parametrize(
    "given", [None, "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"]
)
def test_jobs_on_one_gpu_share_its_memory_unless_the_user_says_how(given, tmp_path, monkeypatch):
    """JAX refuses both names at once, and goes on without the GPU."""
    environments = []

    def start(job, *, cores, environment):
        environments.append(environment)
        return subprocess.Popen(["true"])

    monkeypatch.setattr(job_process, "start", start)
    monkeypatch.setattr(job_process, "ended", lambda job, code: None)
    names = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv(given, "0.3")
    jobs = plan(read_sweep(written(tmp_path)), tmp_path / "out")
    assert run_local(jobs, processes=2, gpus=["3"], say=lambda _: None) == []
    assert [x.pop("CUDA_VISIBLE_DEVICES") for x in environments] == ["3"] * len(jobs)
    assert environments == [{} if given else {names[0]: "0.450"}] * len(jobs)


@pytest.mark.slow
def test_killed_and_resumed_each_run_is_finished_once(tmp_path, capsys):
    file, out = written(tmp_path, "evaluation_episodes = 2"), tmp_path / "out"
    jobs = plan(read_sweep(file), out)
    process = subprocess.Popen(
        [sys.executable, SCRIPT, file, "--out", out],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    second = RunFolder(jobs[1].path)
    wait_until(lambda: len(second.read("metrics")) >= 3, process)
    process.kill()
    process.communicate()
    assert jobs[0].finished
    finished = (jobs[0].path / "evaluation.json").read_bytes()
    assert not jobs[1].finished

    sweep([str(file), "--out", str(out), "--dry_run"])
    printed = capsys.readouterr().out
    assert "DreamerV3/probe_memory/seed0: finished\n" in printed
    assert "DreamerV3/probe_memory/seed1: begun, " in printed
    assert "1 of 2 jobs are left: 0.0" in printed

    # The program that lost its sweep saves first; the next one waits for it.
    sweep([str(file), "--out", str(out)])
    printed = capsys.readouterr().out
    assert "1 of 2 jobs are finished, 1 are left\n" in printed
    assert "seed0: started" not in printed
    assert "seed1: finished after" in printed
    for job in jobs:
        check_once(job.path)
    assert (jobs[0].path / "evaluation.json").read_bytes() == finished
    (resumed,) = [line for line in jobs[1].log.read_text().splitlines() if "resumed  " in line]
    assert "resumed     at env step 0" not in resumed
    runs = read_runs([out], "checkpoints")
    assert [(run.arm, run.seed, len(run.returns[0])) for run in runs] == [
        ("DreamerV3", 0, 2),
        ("DreamerV3", 1, 2),
    ]
    page = out / "report" / "report.html"
    assert printed.endswith(f"look at it in a browser: {page}\n")
    assert "mean return in 2 episodes" in printed  # of the last agents, not during training
    sweep([str(file), "--out", str(out)])
    assert capsys.readouterr().out.startswith("2 of 2 jobs are finished, 0 are left\n")


def wait_until(condition, process):
    for _ in range(2000):
        if condition():
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("nothing happened")


@pytest.mark.slow
def test_failures_are_listed_and_the_rest_is_done_at_the_same_time(tmp_path, capsys):
    bad = '\n[arms.bad]\ninit.from = "nowhere"\n'
    file = written(tmp_path, "seeds_per_program = 2", bad)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as exit:
        sweep([str(file), "--out", str(out), "--processes", "2"])
    printed = capsys.readouterr()
    assert exit.value.code == 1
    assert "error: 1 of 2 jobs failed, as listed above.\n" in printed.err
    assert "bad/probe_memory/seeds0-1: exit code 2; the last lines of " in printed.out
    assert "    error: " in printed.out  # the program's own line
    assert not (out / "report").exists()
    for seed in (0, 1):
        check_once(out / "DreamerV3" / "probe_memory" / "seeds0-1" / f"seed{seed}")
    with pytest.raises(SystemExit):
        sweep([str(file), "--out", str(out)])
    assert "before, bad/probe_memory/seeds0-1: exit code 2" in capsys.readouterr().out


@pytest.mark.slow
def test_a_signal_saves_what_runs_and_ends_with_75(tmp_path):
    file, out = written(tmp_path), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, SCRIPT, file, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    first = RunFolder(plan(read_sweep(file), out)[0].path)
    wait_until(lambda: len(first.read("metrics")) >= 2, process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 75
    assert errors == "SIGTERM: 2 jobs are left; the same command goes on.\n"
    assert "seed0: was told to stop" in output
    assert "seed1: started" not in output
    # Saved at the moment of the signal, and not only before.
    assert max(first.checkpoints()) >= first.read("metrics")[-1]["env_step"]


def test_a_dry_run_changes_nothing(tmp_path, capsys):
    sweep([str(written(tmp_path)), "--out", str(tmp_path / "out"), "--dry_run"])
    printed = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    path = tmp_path / "out" / "DreamerV3" / "probe_memory" / "seed1"
    assert "python scripts/train.py --preset debug --task probe_memory --seed 1" in printed
    assert (
        f"--log.no_tensorboard --log.report_every 0 --platform cpu --gpld.lambda0 0.0 --run {path}"
        in printed
    )
    assert printed.endswith(
        "2 of 2 jobs are left; how long they take is unknown: no run tells their speed yet; "
        "`--like RUN` names one\n"
    )


def test_runs_of_several_hosts_are_planned_but_not_started_here(tmp_path, capsys):
    file, out = written(tmp_path), tmp_path / "out"
    file.write_text(file.read_text().replace("env_steps", "distributed.processes = 2\nenv_steps"))
    assert [job.config.run for job in plan(read_sweep(file), out)] == [
        str(out / "DreamerV3" / "probe_memory" / f"seed{seed}") for seed in (0, 1)
    ]
    with pytest.raises(SystemExit) as exit:
        sweep([str(file), "--out", str(out)])
    assert exit.value.code == 2
    assert "error: `distributed.processes` must be 1 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing.toml"], "nothing.toml cannot be read: No such file"),
        (["FILE", "--processes", "0"], "`processes` must be at least 1, got 0"),
        (["FILE", "--slurm.hour", "2"], "Unknown flag --slurm.hour; did you mean --slurm.hours"),
    ],
)
def test_bad_usage_is_one_line(tmp_path, capsys, args, message):
    args = [str(written(tmp_path)) if arg == "FILE" else arg for arg in args]
    with pytest.raises(SystemExit) as exit:
        sweep(args)
    output = capsys.readouterr()
    assert (exit.value.code, output.out) == (2, "")
    assert message in output.err
    assert output.err.count("\n") == 1
