"""Runs that are killed and resumed are bit for bit the runs that were not."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest
from stopped_runs import TRAIN, finish, outcomes, start

from gpld.runs.folder import RunFolder

QUICK = (
    *("--preset", "debug", "--task", "probe_memory", "--env.action_repeat", "1"),
    *("--deterministic", "--platform", "cpu", "--log.no_tensorboard"),
    *("--env_steps", "600", "--evaluation.every", "250", "--log.every", "20"),
    *("--log.report_every", "0", "--checkpoint.every", "30", "--gpld.lambda0", "0"),
)
DISCRETE = (*QUICK, "--task", "probe_discrete", "--env.workers", "2")
WORKERS = (
    *("--preset", "debug", "--task", "cartpole_swingup", "--env.workers", "2"),
    *("--deterministic", "--platform", "cpu"),
    *("--env_steps", "1200", "--evaluation.every", "500", "--log.every", "25"),
    *("--log.report_every", "400", "--checkpoint.every", "40"),
)


# Whose state is taken from Gymnasium's class and its time limit.
GYMNASIUM = (*QUICK, "--task", "gymnasium:Hopper-v5", "--env.workers", "2")


def kill_at_a_random_moment(path, args, moments, *, while_writing):
    """Kills a run some time after it has begun to do new things; False if it ended before."""
    watched = path / "seed1" if "--seeds" in args else path
    folder, checkpoints = RunFolder(watched), watched / "checkpoints"
    before = len(folder.read("metrics"))
    process = start(path, args)
    while process.poll() is None and len(folder.read("metrics")) <= before:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 1))
    if while_writing:
        while process.poll() is None and not any(checkpoints.glob(".*.tmp")):
            pass
        time.sleep(moments.uniform(0, 0.005))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    written = [line["env_step"] for line in folder.read("metrics")][-1:]
    unfinished = [file.name for file in checkpoints.rglob(".*")]
    print(
        f"killed after env step {written}, with {len(folder.checkpoints())} checkpoints"
        + (f", while {unfinished} was written" if unfinished else "")
    )
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(path, QUICK)
    return path


def check_kills(args, num_kills, killed, whole):
    seed = random.randrange(2**32)
    print(f"moments drawn from seed {seed}")
    moments = random.Random(seed)
    for i in range(num_kills):
        killed_in_time = kill_at_a_random_moment(killed, args, moments, while_writing=i % 2 == 1)
        assert killed_in_time, "the run ended before; give it more env steps"
    output = finish(killed, args)
    assert "resumed" in output
    for run, other in zip(outcomes(killed), outcomes(whole), strict=True):
        for actual, expected in zip(run, other, strict=True):
            assert actual == expected


@pytest.mark.slow
def test_two_kills_change_nothing(whole, tmp_path):
    check_kills(QUICK, 2, tmp_path / "killed", whole)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "args",
    [WORKERS, (*QUICK, "--seeds", "2"), DISCRETE, GYMNASIUM],
    ids=["workers", "seeds", "discrete", "gymnasium"],
)
def test_kills_change_nothing(args, tmp_path):
    finish(tmp_path / "whole", args)
    check_kills(args, 2, tmp_path / "killed", tmp_path / "whole")


LONGER = (*QUICK, "--env_steps", "4500")
ON_THE_DEVICE = (*LONGER, "--env.backend", "mjx", "--loop", "device")


@pytest.mark.exhaustive
@pytest.mark.parametrize("args", [LONGER, ON_THE_DEVICE], ids=["host", "device"])
def test_twenty_kills_change_nothing(args, tmp_path):
    finish(tmp_path / "whole", args)
    check_kills(args, 20, tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_signals_save_and_end_with_a_code_to_requeue_on(whole, tmp_path):
    """SIGTERM first, then Ctrl-C; between them the run is moved to another folder."""
    stopped, moved = tmp_path / "stopped", tmp_path / "moved"
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(stopped, QUICK)
        before = len(RunFolder(stopped).read("metrics")) if stopped.exists() else 0
        while process.poll() is None and len(RunFolder(stopped).read("metrics")) <= before + 1:
            time.sleep(0.01)
        process.send_signal(number)
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 75, errors
        assert number.name in output
        assert f"{number.name} ended the run at env step" in errors
        assert errors.count("\n") == 1
        stopped.rename(moved)
        stopped, moved = moved, stopped
    finish(stopped, QUICK)
    assert outcomes(stopped) == outcomes(whole)


@pytest.mark.slow
def test_what_a_stopped_run_says_last_goes_on_with_it(tmp_path):
    """Without `--run`, where the same command would begin another run."""
    process = subprocess.Popen(
        [sys.executable, TRAIN, *QUICK],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("first update"):
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 75
    assert errors.startswith("SIGINT ended the run at env step")
    [path] = (tmp_path / "runs").iterdir()
    saved, go_on, look = output.splitlines()[-3:]
    assert saved.startswith(f"saved       runs/{path.name}: ")
    assert go_on == f"go on       python {TRAIN} --resume runs/{path.name}"
    for line in (go_on, look):
        command = line[12:].replace("python", shlex.quote(sys.executable), 1)
        result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    assert list((tmp_path / "runs").iterdir()) == [path]
    assert max(RunFolder(path).checkpoints()) == 600


@pytest.mark.slow
def test_a_second_interrupt_stops_at_once(real_programs, tmp_path):
    """Also while XLA compiles, when Python's own handlers do not run."""
    # Such programs take half a minute to compile.
    env = {**real_programs, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    process = start(tmp_path / "run", QUICK, **env)
    for line in process.stdout:
        if line.startswith("memory"):
            break
    time.sleep(5)  # the update is being compiled
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - began < 2


SHORT = (*QUICK[:-2], "--env_steps", "60", "--evaluation.predictions", "0")


def _files(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.exhaustive
def test_settings_of_the_shell_are_honoured_and_kept(tmp_path):
    """A run in float64 trains and is resumed as such; without, it is left as it is."""
    wide, path = {"JAX_ENABLE_X64": "1"}, tmp_path / "run"
    for _ in range(2):
        process = start(path, SHORT, **wide)
        output, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    assert "resumed     at env step 60" in output
    before = _files(path)
    process = start(path, SHORT)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert "JAX_ENABLE_X64 is True there and False here" in errors
    assert _files(path) == before


@pytest.mark.exhaustive
def test_more_devices_and_debugging_change_nothing(tmp_path):
    finish(tmp_path / "plain", SHORT)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    process = start(tmp_path / "more", SHORT, XLA_FLAGS=flags, JAX_DEBUG_NANS="1")
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert outcomes(tmp_path / "more") == outcomes(tmp_path / "plain")


@pytest.mark.slow
def test_a_run_is_not_made_shorter_than_it_is(tmp_path):
    finish(tmp_path / "run", SHORT)
    before = _files(tmp_path / "run")
    process = subprocess.run(
        [sys.executable, TRAIN, "--resume", tmp_path / "run", "--env_steps", "50"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "`--env_steps` must be at least 60" in process.stderr
    assert _files(tmp_path / "run") == before
