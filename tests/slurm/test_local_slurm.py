"""Sweeps on a real SLURM; `local_slurm.sh` makes one. Skipped where there is none."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest
import submitit  # noqa: F401  # within a test it would close what pytest captures

from gpld.commands.sweep import main as sweep
from gpld.runs.folder import RunFolder
from gpld.sweep import plan, read_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "SLURM_CONF" not in os.environ or shutil.which("sbatch") is None,
        reason="`tests/slurm/local_slurm.sh` starts a SLURM",
    ),
]

TOML = """
preset = "debug"
tasks = ["probe_memory"]
seeds = [0]

[settings]
env_steps = 6_000
env.action_repeat = 1
checkpoint.every = 100_000
log.every = 10
log.tensorboard = false
log.report_every = 0
platform = "cpu"

[arms.DreamerV3]
gpld.lambda0 = 0.0

[arms.bad]
init.from = "nowhere"
"""
SLURM = ("--where", "slurm", "--slurm.gpus", "0", "--slurm.cpus", "1", "--slurm.memory_gb", "1")


def test_submitted_once_preempted_requeued_and_finished(tmp_path, capsys):
    file, out = tmp_path / "grid.toml", tmp_path / "out"
    file.write_text(TOML)
    good, bad = plan(read_sweep(file), out)
    sweep([str(file), "--out", str(out), *SLURM])
    printed = capsys.readouterr().out
    assert f"{good.name}: submitted as job " in printed
    number = printed.split(f"{good.name}: submitted as job ")[1].split(",")[0]
    sweep([str(file), "--out", str(out), *SLURM])  # nothing is submitted twice
    assert f"{good.name}: is job {number} already" in capsys.readouterr().out

    folder = RunFolder(good.path)
    # Not while the first update is compiled, which can take longer than SLURM's patience.
    wait_until(lambda: any(line["update"] > 0 for line in folder.read("metrics")))
    assert not good.finished
    # What SLURM does some time before it takes the node away.
    subprocess.run(["scancel", "--signal=TERM", number], check=True)
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    wait_until(lambda: good.finished)
    wait_until(lambda: bad.failure.exists())
    assert sum("resumed  " in line for line in good.log.read_text().splitlines()) == 1
    steps = [line["env_step"] for line in folder.read("metrics")]
    assert steps == sorted(set(steps))
    wait_until(lambda: not subprocess.check_output(["squeue", "--noheader"], text=True).strip())

    with pytest.raises(SystemExit) as exit:
        sweep([str(file), "--out", str(out), *SLURM, "--wait"])
    output = capsys.readouterr()
    assert exit.value.code == 1
    assert "1 of 2 jobs are finished, 1 are left" in output.out
    assert "before, bad/probe_memory/seed0: exit code 2" in output.out
    assert output.err == "error: 1 of 1 jobs failed, as listed above.\n"


def test_several_hosts_train_one_run(tmp_path, capsys):
    file, out = tmp_path / "grid.toml", tmp_path / "out"
    settings = "[settings]\ndistributed.processes = 2"
    text = TOML.split("[arms.bad]")[0].replace("[settings]", settings).replace("6_000", "300")
    file.write_text("evaluation_episodes = 2\n" + text)
    (job,) = plan(read_sweep(file), out)
    with pytest.raises(SystemExit) as exit:
        sweep([str(file), "--out", str(out)])
    assert exit.value.code == 2
    assert "`distributed.processes` must be 1 here" in capsys.readouterr().err
    sweep([str(file), "--out", str(out), *SLURM, "--wait"])
    assert job.finished
    assert {"process 0 of 2", "process 1 of 2"} <= set(
        re.findall(r"process \d of \d", job.log.read_text())
    )
    first, second = RunFolder(job.path), RunFolder(job.path / "process1")
    assert first.read("metrics")[-1]["update"] == second.read("metrics")[-1]["update"] > 0
    assert len(json.loads((job.path / "evaluation.json").read_text())["checkpoints"]) == 1
    assert not (second.path / "evaluation.json").exists()


def wait_until(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("nothing happened")
