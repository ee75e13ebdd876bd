"""Disks, folders and processes that fail, for real: one line, and nothing that was saved lost."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import gpld
from gpld.cli import parse_config
from gpld.config.presets import PRESETS
from gpld.envs import WorkerError
from gpld.errors import MachineError, UsageError
from gpld.runs.folder import RunFolder
from gpld.training.train import train

pytestmark = pytest.mark.slow

DEBUG = PRESETS["debug"]
CONFIG = dataclasses.replace(
    DEBUG,
    task="probe_memory",
    env_steps=120,
    env=dataclasses.replace(DEBUG.env, action_repeat=1),
    log=dataclasses.replace(DEBUG.log, every=20, report_every=0, tensorboard=False),
    checkpoint=dataclasses.replace(DEBUG.checkpoint, every=40),
)
LONGER = dataclasses.replace(CONFIG, env_steps=200)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "run"
    train(CONFIG, path)
    return path


@pytest.fixture
def run(original, tmp_path):
    """A finished run that may be spoiled."""
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def _flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def _newest_mutable(run):
    return sorted((run / "checkpoints" / "replay").glob("mutable-*"))[-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: _truncate(run / "checkpoints/000000120/agent.eqx"), "agent.eqx has"),
        (lambda run: _flip_a_byte(run / "checkpoints/000000120/loop.npz"), "match its checksum"),
        (lambda run: _flip_a_byte(_newest_mutable(run)), "mutable-"),
        (lambda run: (run / "checkpoints/000000120/manifest.json").unlink(), "manifest.json is"),
    ],
    ids=["truncated", "flipped", "replay", "missing"],
)
def test_damaged_checkpoint_is_set_aside_for_the_one_before(run, capsys, damage, message):
    damage(run)
    before = RunFolder(run).read("metrics")
    train(CONFIG, run)
    output = capsys.readouterr().out
    [line] = [line for line in output.splitlines() if "set aside as damaged-000000120" in line]
    assert message in line
    assert "resumed     at env step 80" in output
    after = RunFolder(run).read("metrics")
    timeless = lambda line: {k: v for k, v in line.items() if not k.startswith("time/")}  # noqa: E731
    assert [*map(timeless, after)] == [*map(timeless, before)]
    assert gpld.load(run).state.update == before[-1]["update"]


def test_no_whole_checkpoint_is_one_line(run):
    for path in run.glob("checkpoints/*/agent.eqx"):
        _truncate(path)
    with pytest.raises(MachineError, match=r"run cannot go on: .* bytes\. Nothing was changed"):
        train(LONGER, run)


@contextlib.contextmanager
def _small_disk(path, size):
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root on Linux")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_full_disk_ends_in_one_line_and_what_was_saved_stays(original, tmp_path, capsys):
    disk = tmp_path / "disk"
    with _small_disk(disk, "8m"):
        run, filler = disk / "run", disk / "filler"
        shutil.copytree(original, run)
        free = shutil.disk_usage(disk).free
        filler.write_bytes(bytes(free - 60_000))
        with pytest.raises(MachineError, match="No space left on device") as error:
            train(LONGER, run)
        assert "\n" not in str(error.value)
        assert gpld.load(run).state.update == RunFolder(original).read("metrics")[-1]["update"]
        assert not list(run.rglob("*.tmp"))
        filler.unlink()
        train(LONGER, run)
        assert RunFolder(run).read("metrics")[-1]["env_step"] == 200
    assert "No space left on device. The last checkpoint stays good" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["16k", "64k", "256k", "512k", "1m"])
def test_a_run_on_a_disk_that_is_too_small_ends_in_one_line(tmp_path, capsys, size):
    disk = tmp_path / "disk"
    with _small_disk(disk, size):
        with pytest.raises(MachineError, match="No space left on device") as error:
            train(LONGER, disk / "run")
        assert "\n" not in str(error.value)
        assert [path for path in disk.rglob("*") if path.name.endswith(".tmp")] == []
    capsys.readouterr()


def test_read_only_disk_is_one_line(original, tmp_path):
    disk = tmp_path / "disk"
    with _small_disk(disk, "8m"):
        shutil.copytree(original, disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(MachineError, match="Read-only file system"):
            train(LONGER, disk / "run")


@contextlib.contextmanager
def _meanwhile(run, act):
    """Does something once a run has written metrics."""
    before = len(RunFolder(run).read("metrics")) if run.exists() else 0

    def wait():
        end = time.monotonic() + 300
        while time.monotonic() < end:
            time.sleep(0.01)
            if run.exists() and len(RunFolder(run).read("metrics")) > before:
                break
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("nothing", marks=pytest.mark.exhaustive),
        pytest.param("evaluations", marks=pytest.mark.exhaustive),
        "checkpoints",
    ],
)
def test_vanished_folder_is_one_line(run, what):
    config = dataclasses.replace(CONFIG, env_steps=100_000)
    if what == "evaluations":
        evaluation = dataclasses.replace(CONFIG.evaluation, every=20, predictions=1)
        config = dataclasses.replace(config, evaluation=evaluation)
    if what == "checkpoints":
        saved = dataclasses.replace(CONFIG.checkpoint, minutes=1e-9)
        config = dataclasses.replace(config, checkpoint=saved)
    with (
        pytest.raises(MachineError, match="No such file or directory") as error,
        _meanwhile(run, lambda: run.rename(run.with_name("elsewhere"))),
    ):
        train(config, run)
    assert "\n" not in str(error.value)
    assert not run.exists()
    assert gpld.load(run.with_name("elsewhere")).config.env_steps == 100_000


def _kill_a_worker():
    worker = next(
        child
        for child in psutil.Process().children()
        if any("gpld.envs.vector.worker" in argument for argument in child.cmdline())
    )
    worker.send_signal(signal.SIGKILL)


def _with_workers(max_restarts):
    env = dataclasses.replace(LONGER.env, workers=2, max_restarts=max_restarts)
    return dataclasses.replace(LONGER, env_steps=600, env=env)


def test_killed_worker_is_replaced_and_counted(tmp_path, capsys):
    with _meanwhile(tmp_path / "run", _kill_a_worker):
        folder = train(_with_workers(10), tmp_path / "run")
    last = folder.read("metrics")[-1]
    assert (last["env_step"], last["faults/env_restarts"]) == (600, 1)
    output = capsys.readouterr().out
    assert "died with exit code -9. It was replaced, and its episodes are truncated." in output
    # Whole episodes of three steps and the reset: none that was cut short has a score.
    assert {line["length"] for line in folder.read("episodes")} == {4}


@pytest.mark.exhaustive
def test_too_many_killed_workers_stop_the_run(tmp_path, capsys):
    with (
        pytest.raises(WorkerError, match=r"^Worker of environments? .* of probe_memory died"),
        _meanwhile(tmp_path / "run", _kill_a_worker),
    ):
        train(_with_workers(0), tmp_path / "run")
    # All is saved, and goes on where more failures are allowed; what has failed is made anew.
    reached = int(RunFolder(tmp_path / "run").latest_checkpoint().name)
    assert reached > 0
    folder = train(_with_workers(1), tmp_path / "run")
    assert f"resumed     at env step {reached:,} " in capsys.readouterr().out
    last = folder.read("metrics")[-1]
    assert (last["env_step"], last["faults/env_restarts"]) == (600, 1)
    assert {line["length"] for line in folder.read("episodes")} == {4}


def test_other_settings_are_refused_with_the_differences(run):
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    gpld_config = dataclasses.replace(CONFIG.gpld, lambda0=0.25)
    with pytest.raises(UsageError) as error:
        train(dataclasses.replace(CONFIG, seed=3, gpld=gpld_config), run)
    message = str(error.value)
    assert "seed is 0 there and 3 here; gpld.lambda0 is 0.5 there and 0.25 here" in message
    assert "\n" not in message
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_resume_takes_the_settings_of_the_run(run):
    config = parse_config(["--resume", str(run), "--env_steps", "200", "--log.every", "50"])
    assert (config.run, config.task, config.env_steps) == (str(run), "probe_memory", 200)
    folder = train(config, run)
    assert [line["env_step"] for line in folder.read("metrics")][-3:] == [120, 150, 200]
    assert folder.config().env_steps == 200
    assert len(folder.record()["resumed"]) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--resume", "nowhere"], "nowhere is not a run folder"),
        (["--resume", "RUN", "--preset", "small"], "`--preset` cannot be combined"),
    ],
)
def test_bad_resume_is_one_line(run, args, message):
    with pytest.raises(UsageError, match=message):
        parse_config([arg.replace("RUN", str(run)) for arg in args])


def test_two_processes_do_not_share_a_folder(run):
    code = (
        "import sys, pathlib; from gpld.runs.start import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    with pytest.raises(UsageError, match="is being trained by another process"):
        train(CONFIG, run)
    process.communicate()


def test_too_little_memory_is_refused_before_anything_is_written(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        env_steps=2**32 - 10,
        replay=dataclasses.replace(CONFIG.replay, capacity=10**12),
    )
    with pytest.raises(UsageError, match=r"The replay takes .* It fits with `--replay.capacity"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_complete_run_says_so(run, capsys):
    before = (run / "metrics.jsonl").read_text()
    train(CONFIG, run)
    assert "the run is complete" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_text() == before
