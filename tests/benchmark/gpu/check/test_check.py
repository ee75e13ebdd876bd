"""The check of a GPU: parts that fail in every way, the deadline, and all of it in small."""

import gzip
import itertools
import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from run_script import SCRIPTS, run

from gpld.benchmark.gpu.check import check_gpu
from gpld.benchmark.gpu.check.check import PARTS
from gpld.benchmark.gpu.check.part import Part
from gpld.benchmark.gpu.check.process import run_part
from gpld.benchmark.gpu.check.profile import kernels
from gpld.benchmark.gpu.check.report import table
from gpld.benchmark.gpu.check.sizes import FULL, SMALL
from gpld.benchmark.gpu.check.update import flags_of
from gpld.commands.gpu_check import GPUCheckArgs, main
from gpld.config.flags import parse_settings
from gpld.errors import MachineError, UsageError
from gpld.machine.subprocesses import run_python

# Parts as a process of their own finds them; none imports more than the check itself.
_FAULTY = """
import os, subprocess, sys, time

def works(task):
    yield "first", {"ms": 1.5, "same": True}
    yield "second", {"ms": float("nan")}
    yield "first", {"launches": 7}

def raises(task):
    yield "first", {"ms": 1.0}
    raise RuntimeError("no such kernel\\nand more")

def crashes(task):
    yield "first", {"ms": 1.0}
    os.abort()

def hangs(task):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield "child", {"pid": child.pid}
    time.sleep(600)

def prints_rubbish(task):
    os.write(1, b"\\xff\\x00[1, 2]\\n" * 1000)
    yield "first", {"ms": 1.0}

def saves_rubbish(task):
    yield "first", {"ms": 1.0}
    (task.folder / "rows.jsonl").open("a").write('["torn", {"ms"\\n[1]\\n')

def says_nothing(task):
    yield from ()
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Parts by the names of their functions."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "faulty_parts.py").write_text(_FAULTY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        module = import_module("faulty_parts")
        yield lambda name, share=0.2: Part(name, getattr(module, name), share)


def is_running(pid):
    """Whether a process is there and not only waits to be asked how it ended."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_rows_are_kept_as_they_come(faulty, tmp_path):
    found = run_part(faulty("works"), tmp_path, small=True, seconds=100)
    assert (found["status"], found["reason"]) == ("ok", None)
    first = {"ms": 1.5, "same": True, "launches": 7}
    assert found["rows"] == {"first": first, "second": {"ms": "nan"}}
    lines = table({"parts": {"works": found}}).splitlines()
    assert lines[0].startswith("works: ok after ")
    assert [line.split() for line in lines[1:]] == [
        ["ms", "same", "launches"],
        ["first", "1.5", "yes", "7"],
        ["second", "nan"],
    ]


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("raises", "failed", "RuntimeError: no such kernel"),
        ("crashes", "failed", "killed by SIGABRT"),
        pytest.param(
            *("saves_rubbish", "failed", "left 1 rows and 2 lines that are none"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_part_saved_before_it_failed_stays(faulty, tmp_path, name, status, reason):
    found = run_part(faulty(name), tmp_path, small=True, seconds=100)
    assert (found["status"], found["reason"]) == (status, reason)
    assert found["rows"] == {"first": {"ms": 1.0}}


@pytest.mark.slow
def test_a_part_that_says_nothing_has_failed(faulty, tmp_path):
    found = run_part(faulty("says_nothing"), tmp_path, small=True, seconds=100)
    assert found["status"] == "failed"


@pytest.mark.slow
def test_what_a_part_prints_is_no_result(faulty, tmp_path):
    found = run_part(faulty("prints_rubbish"), tmp_path, small=True, seconds=100)
    assert (found["status"], found["rows"]) == ("ok", {"first": {"ms": 1.0}})
    assert (tmp_path / "prints_rubbish" / "log").stat().st_size > 1000


@pytest.mark.slow
def test_a_part_that_hangs_is_ended_with_all_that_it_started(faulty, tmp_path, monkeypatch):
    wait, rows = subprocess.Popen.wait, tmp_path / "hangs" / "rows.jsonl"

    def wait_once_it_hangs(process, timeout=None):  # however long it takes to start
        while process.poll() is None and timeout is not None and not rows.stat().st_size:
            time.sleep(0.05)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_once_it_hangs)
    found = run_part(faulty("hangs"), tmp_path, small=True, seconds=1)
    assert (found["status"], found["reason"]) == ("out of time", "had 1 s")
    end = time.monotonic() + 5
    while is_running(found["rows"]["child"]["pid"]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(found["rows"]["child"]["pid"])


def test_a_part_that_is_interrupted_while_it_starts_is_ended(faulty, tmp_path, monkeypatch):
    start, started = subprocess.Popen.__init__, []

    def interrupted(process, *args, **kwargs):
        start(process, *args, **kwargs)
        started.append(process.pid)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess.Popen, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_part(faulty("hangs"), tmp_path, small=True, seconds=100)
    assert not is_running(started[0])


@pytest.fixture
def ran(monkeypatch):
    """Parts that were run, with their seconds, on a clock that goes on as `took` says."""
    clock, calls, took, statuses = [0.0], [], {}, {}

    def run_part(part, folder, *, small, seconds):
        calls.append((part.name, seconds))
        clock[0] += min(seconds, took.get(part.name, seconds))
        status = statuses.get(part.name, "ok")
        return {"status": status, "reason": None, "seconds": 1.0, "rows": {"a": {"b": 1}}}

    module = import_module("gpld.benchmark.gpu.check.check")
    monkeypatch.setattr(module, "run_part", run_part)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return calls, took, statuses


def parts(*shares):
    return [
        Part(name, lambda task: iter(()), share) for name, share in zip("abc", shares, strict=True)
    ]


def test_what_a_part_leaves_goes_to_the_next(ran, tmp_path):
    calls, took, _ = ran
    took.update(a=10, b=15)
    check_gpu(tmp_path, minutes=1, parts=parts(0.5, 0.25, 0.25))
    assert calls == [("a", 30), ("b", 35), ("c", 35)]


def test_a_part_that_takes_all_of_its_time_takes_none_of_the_others(ran, tmp_path):
    calls, _, _ = ran
    report = check_gpu(tmp_path, minutes=1, parts=parts(0.5, 0.25, 0.25))
    assert calls == [("a", 30), ("b", 15), ("c", 15)]
    assert report == json.loads((tmp_path / "gpu_check.json").read_text())


def test_nothing_begins_after_the_deadline(ran, tmp_path):
    calls, took, _ = ran
    took["a"] = 1e9
    report = check_gpu(tmp_path, minutes=1, parts=parts(0.95, 0.04, 0.01))
    assert [name for name, _ in calls] == ["a"]
    assert {name: part["status"] for name, part in report["parts"].items()} == {
        "a": "ok", "b": "not begun", "c": "not begun",
    }  # fmt: skip
    assert "c: not begun after 0 s: no time was left" in (tmp_path / "gpu_check.txt").read_text()


def test_a_second_call_runs_what_is_not_done(ran, tmp_path):
    calls, took, statuses = ran
    statuses["b"] = "failed"
    check_gpu(tmp_path, minutes=1, parts=parts(0.3, 0.3, 0.3))
    calls.clear()
    statuses.clear()
    took.update(b=1, c=1)
    report = check_gpu(tmp_path, minutes=1, parts=parts(0.3, 0.3, 0.3))
    assert [name for name, _ in calls] == ["b"]
    assert list(report["parts"]) == ["a", "b", "c"]
    check_gpu(tmp_path, minutes=1, names=["c"], parts=parts(0.3, 0.3, 0.3))
    assert [name for name, _ in calls] == ["b", "c"]


def test_each_part_is_saved_before_the_next_begins(ran, monkeypatch, tmp_path):
    module = import_module("gpld.benchmark.gpu.check.check")
    before, saved = module.run_part, []

    def run_part(*args, **kwargs):
        path = tmp_path / "gpu_check.json"
        saved.append(list(json.loads(path.read_text())["parts"]) if path.exists() else [])
        return before(*args, **kwargs)

    monkeypatch.setattr(module, "run_part", run_part)
    check_gpu(tmp_path, minutes=1, parts=parts(0.3, 0.3, 0.3))
    assert saved == [[], ["a"], ["a", "b"]]


def test_sizes_do_not_mix(ran, tmp_path):
    check_gpu(tmp_path, minutes=1, small=True, parts=parts(0.3, 0.3, 0.3))
    with pytest.raises(UsageError, match="has a check in small sizes; choose another `--out`"):
        check_gpu(tmp_path, minutes=1, parts=parts(0.3, 0.3, 0.3))


@pytest.mark.parametrize("text", ['{"parts": 5}', '{"small": true, "parts": {"a": {}}}'])
def test_a_file_of_something_else_is_one_line(ran, tmp_path, text):
    (tmp_path / "gpu_check.json").write_text(text)
    with pytest.raises(MachineError, match=r"gpu_check.json holds no check of a GPU"):
        check_gpu(tmp_path, minutes=1, parts=parts(0.3, 0.3, 0.3))


def test_an_unknown_part_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["--small", "--out", str(tmp_path), "--parts", "speed"])
    assert ended.value.code == 2
    assert "`parts` must be of versions, parity, " in capsys.readouterr().err


def test_without_a_gpu_it_says_so_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: `gpu-check` found no NVIDIA GPU that JAX can use (`gpld doctor` says why); "
        "`--small` tries everything on the CPU in small sizes.\n"
    )


def test_parts_have_shares_of_one_whole_and_are_named_in_the_help():
    assert sum(part.share for part in PARTS) == pytest.approx(1)
    source = Path(import_module("gpld.commands.gpu_check").__file__).read_text()
    names = " ".join(source.partition("Parts to run, also those that are done: ")[2].split())
    assert names.startswith(", ".join(part.name for part in PARTS) + ". ")
    assert GPUCheckArgs().minutes == 8


@pytest.mark.parametrize("sizes", [FULL, SMALL], ids=["full", "small"])
def test_sizes_are_settings_of_training(sizes):
    for flags in (sizes.update, sizes.memory, sizes.learning, sizes.resume):
        parse_settings(flags)
    for name in sizes.updates:
        parse_settings([*sizes.update, *flags_of(name)])
    folder = Path(__file__).parents[3] / "fixtures"
    assert all((folder / f"{name}.npz").is_file() for name in sizes.fixtures)


@pytest.mark.slow
def test_xla_knows_the_flags():
    """One that it does not know would end the process; those of GPUs are known everywhere."""
    flags = {flag for part in PARTS for flag in part.xla_flags}
    assert len(flags) == 1
    for flag in flags:
        code = "import jax; print(len(jax.devices()))"
        assert run_python(code, timeout=100, JAX_PLATFORMS="cpu", XLA_FLAGS=flag) == (True, "1")
    wrong = run_python(
        "import jax; jax.devices()", timeout=100, JAX_PLATFORMS="cpu",
        XLA_FLAGS="--xla_gpu_enable_command_buffer=+NOTHING",
    )  # fmt: skip
    assert not wrong.ok


def test_kernels_are_what_runs_in_streams_of_the_device(tmp_path):
    def named(kind, pid, tid, name):
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}

    def event(pid, tid, name, dur):
        return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": 0, "dur": dur}

    events = [
        named("process_name", 1, 0, "/device:GPU:0"),
        named("thread_name", 1, 13, "Stream #13(Compute)"),
        named("thread_name", 1, 14, "Stream #14(MemcpyD2D)"),
        named("thread_name", 1, 20, "XLA Modules"),
        named("process_name", 2, 0, "/host:CPU"),
        named("thread_name", 2, 13, "Stream of something else"),
        event(1, 13, "gemm", 2000),
        event(1, 13, "gemm", 1000),
        event(1, 14, "copy", 500),
        event(1, 20, "jit_update", 9000),
        event(2, 13, "python", 9000),
        *(event(1, 13, f"small {i}", 1) for i in range(100)),
        {},
    ]
    path = tmp_path / "trace.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": events}, file)
    found = kernels(path)
    assert found["all kernels"] == (103, pytest.approx(3.6))
    assert list(itertools.islice(found.items(), 1, 3)) == [("gemm", (2, 3.0)), ("copy", (1, 0.5))]
    assert len(found) == 21


@pytest.mark.slow
def test_a_check_that_is_stopped_leaves_nothing_running(tmp_path):
    script = [sys.executable, SCRIPTS / "gpu_check.py"]
    command = [*script, "--small", "--out", tmp_path, "--parts", "update"]
    check = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "update" / "log").exists() or not psutil.Process(check.pid).children():
        assert check.poll() is None
        time.sleep(0.05)
    [part] = psutil.Process(check.pid).children()
    check.terminate()
    _, stderr = check.communicate(timeout=30)
    assert (check.returncode, stderr.splitlines()[-1]) == (130, "interrupted")
    assert not is_running(part.pid)


@pytest.mark.exhaustive
def test_all_of_it_runs_in_small(tmp_path):
    result = run("gpu_check.py", "--small", "--minutes", "15", "--out", tmp_path)
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    statuses = {name: (part["status"], part["reason"]) for name, part in report["parts"].items()}
    assert statuses == {part.name: ("ok", None) for part in PARTS}, result.stderr
    assert result.returncode == 0
    rows = {name: part["rows"] for name, part in report["parts"].items()}
    assert rows["versions"]["device"] == {"value": "cpu"}
    assert rows["parity"]["proprio, float32"]["as in the tests"] is True
    for name in ("update", "loops_not_captured"):
        assert rows[name]["paper"]["launches"] > 1000
        assert 0 < rows[name]["paper"]["ms"] <= rows[name]["paper"]["slowest ms"]
    assert rows["update"]["2 seeds"]["ms per seed"] * 2 == pytest.approx(
        rows["update"]["2 seeds"]["ms"]
    )
    assert rows["memory"]["2 seeds"]["predicted agent MiB"] > 0
    assert any(name.endswith("frames") and figures["official"] for name, figures in
               rows["learning"].items())  # fmt: skip
    assert rows["resume"]["bits"] == {"same agent": True, "same replay": True}
    warp = rows["mjx"]["cartpole_swingup, warp x 4"]
    assert "Warp" in warp["error"]
    assert rows["mjx"]["cartpole_swingup, jax x 4"]["control steps / s"] > 0
    assert Path(rows["profile"]["trace"]["file"]).is_file()
    for name in rows:
        assert f"{name}: ok after " in result.stdout
