"""Where metrics go besides the run folder's own files."""

import json
import math
import os
import resource
import struct
import subprocess
import sys

import pytest
from tensorboardX.proto import event_pb2

from gpld.config import Config, LogConfig
from gpld.errors import UsageError
from gpld.runs import sinks
from gpld.runs.sinks import make_sinks

START = event_pb2.SessionLog.START


def clocks(env_step):
    return {"env_step": env_step, "frame": 2 * env_step, "update": env_step // 4}


def open_sinks(folder, *, resumed_at=None, tensorboard=True, wandb=None, warn=pytest.fail):
    config = Config(log=LogConfig(tensorboard=tensorboard, wandb=wandb))
    return make_sinks(config, folder, resumed_at=resumed_at, warn=warn)


def events(folder):
    """All events in the order in which TensorBoard reads them."""
    found = []
    for path in sorted((folder / "tensorboard").glob("*tfevents*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]  # length and data have checksums of 4 bytes
    return found


def scalars(folder):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
    ]


def test_tensorboard_shows_numbers_over_env_steps(tmp_path):
    [sink] = open_sinks(tmp_path)
    sink.write("metrics", clocks(10), {"train/loss/rew": 0.5, "time/seconds": math.nan})
    sink.write("episodes", clocks(12), {"score": 3.0})
    written = scalars(tmp_path)  # before it is closed: a kill loses nothing
    assert written[0] == (10, "train/loss/rew", 0.5)
    assert written[1][:2] == (10, "time/seconds")
    assert math.isnan(written[1][2])
    assert written[2:] == [(12, "episodes/score", 3.0)]
    sink.close()


@pytest.mark.parametrize(("resumed_at", "kept"), [(20, [10, 20]), (None, [])])
def test_a_run_that_goes_on_or_begins_again_purges_what_it_repeats(tmp_path, resumed_at, kept):
    again = (30, 40) if resumed_at else (10, 20)
    for start, steps in ((None, (10, 20, 30)), (resumed_at, again)):
        [sink] = open_sinks(tmp_path, resumed_at=start)
        for step in steps:
            sink.write("metrics", clocks(step), {"x": float(step)})
        sink.close()
    shown = []
    for event in events(tmp_path):
        if event.session_log.status == START:  # TensorBoard forgets steps from here on
            shown = [step for step in shown if step < event.step]
        shown += [event.step for value in event.summary.value if value.tag]
    assert shown == [*kept, *again]


def test_nothing_asked_nothing_made(tmp_path):
    assert open_sinks(tmp_path, tensorboard=False) == []
    assert not list(tmp_path.iterdir())


def test_a_sink_that_cannot_be_opened_warns_once(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    warnings = []
    [sink] = open_sinks(tmp_path, warn=warnings.append)
    sink.write("metrics", clocks(1), {"x": 1.0})
    sink.close()
    [warning] = warnings
    assert warning.startswith("TensorBoard gets no more metrics: ")
    assert "File exists" in warning


def test_a_full_disk_warns_once(tmp_path):
    code = f"""
import resource
from pathlib import Path
from gpld.config import Config
from gpld.runs.sinks import make_sinks
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, {resource.RLIM_INFINITY}))
[sink] = make_sinks(Config(), Path({str(tmp_path)!r}), resumed_at=None, warn=print)
for i in range(1000):
    sink.write("metrics", {{"env_step": i}}, {{"x": 1.0}})
sink.close()
print("goes on")
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    warning, rest = result.stdout.splitlines()
    assert warning == "TensorBoard gets no more metrics: [Errno 27] File too large"
    assert (rest, result.stderr) == ("goes on", "")


def test_wandb_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"`--log\.wandb` needs wandb: `pip install 'gpld\[wandb"):
        open_sinks(tmp_path, wandb="project")


def run_wandb(folder, **env):
    """Opens Weights & Biases in a process of its own, writes two lines, closes."""
    pytest.importorskip("wandb")
    code = f"""
from pathlib import Path
from gpld.config import Config, LogConfig
from gpld.runs.sinks import make_sinks
config = Config(log=LogConfig(tensorboard=False, wandb="project"))
[sink] = make_sinks(config, Path({str(folder)!r}), resumed_at=None, warn=print)
sink.write("metrics", {{"env_step": 10, "frame": 20, "update": 1}}, {{"train/x": 1.5}})
sink.write("episodes", {{"env_step": 12, "frame": 24, "update": 1}}, {{"score": 2.5}})
sink.close()
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "WANDB_SILENT": "true", **env},
    )


def test_wandb_goes_on_with_the_same_run(tmp_path):
    for _ in range(2):
        assert run_wandb(tmp_path, WANDB_MODE="offline").stdout == ""
        stored = json.loads((tmp_path / "wandb.json").read_text())
    runs = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert {name.rpartition("-")[2] for name in runs} == {stored["id"]}
    assert stored["project"] == "project"
    [data, *_] = (tmp_path / "wandb").glob(f"offline-run-*/run-{stored['id']}.wandb")
    for name in (b"train/x", b"episodes/score", b"env_step"):
        assert name in data.read_bytes()


def test_wandb_without_login_warns_once(tmp_path):
    result = run_wandb(
        tmp_path,
        WANDB_MODE="online",
        WANDB_API_KEY="",
        HOME=str(tmp_path),
        NETRC=str(tmp_path / "n"),
    )
    [warning] = result.stdout.splitlines()
    assert warning.startswith("Weights & Biases gets no more metrics: ")
