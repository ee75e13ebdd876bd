"""Two processes of this machine as if they were two: one run, of which each has a half."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpld.checkpoints import checkpoint
from gpld.cli import parse_config
from gpld.errors import UsageError
from gpld.runs.folder import RunFolder

pytestmark = pytest.mark.slow

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
COMPARE = Path(__file__).with_name("compare_updates.py")
ARGS = (
    *("--preset", "debug", "--task", "probe_memory", "--env.action_repeat", "1"),
    *("--platform", "cpu", "--log.no_tensorboard", "--log.every", "20", "--log.report_every", "0"),
    *("--env_steps", "120", "--evaluation.every", "60", "--checkpoint.every", "40"),
    *("--gpld.lambda0", "0", "--distributed.processes", "2"),
)


def _coordinator():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def _start(*args):
    return subprocess.Popen(
        [sys.executable, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _start_both(path):
    flags = [*ARGS, "--run", path, "--distributed.coordinator", _coordinator()]
    return [_start(TRAIN, *flags, "--distributed.process_id", i) for i in range(2)]


def _finish(processes, code=0):
    outputs = []
    for process in processes:
        output, errors = process.communicate(timeout=500)
        assert process.returncode == code, errors
        outputs.append(output)
    return outputs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("hosts") / "run"
    _finish(_start_both(path))
    return path


def _agent(path):
    final = checkpoint.read(RunFolder(path).latest_checkpoint())
    return final.env_step, final.manifest["files"]["agent.eqx"]["sha256"]


def _lines(path, name):
    return [
        {key: value for key, value in line.items() if not key.startswith("time/")}
        for line in RunFolder(path).read(name)
    ]


def test_both_end_with_the_same_agent_and_have_seen_different_things(whole):
    first, second = whole, whole / "process1"
    assert _agent(first) == _agent(second)
    assert _agent(first)[0] == 120
    assert _lines(first, "scores") == _lines(second, "scores") != []
    episodes = [_lines(path, "episodes") for path in (first, second)]
    assert [{line["env"] for line in lines} for lines in episodes] == [{0}, {0}]
    assert episodes[0] != episodes[1]
    losses = [
        [line.get("train/opt/loss") for line in _lines(p, "metrics")] for p in (first, second)
    ]
    assert losses[0] == losses[1]
    assert losses[0][-1] is not None


@pytest.mark.exhaustive
def test_a_signal_to_one_stops_both_and_they_go_on(whole, tmp_path):
    path = tmp_path / "run"
    processes = _start_both(path)
    while processes[0].poll() is None and len(RunFolder(path).read("metrics")) < 3:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    outputs = _finish(processes, code=75)
    assert ["SIGTERM" in output for output in outputs] == [False, True]
    assert _agent(path) == _agent(path / "process1")
    assert 60 <= _agent(path)[0] < 120
    assert len(RunFolder(path).checkpoint_paths()) > 1
    # As if one had been killed while it was saved: both go back to the checkpoint before.
    shutil.rmtree(RunFolder(path / "process1").latest_checkpoint())
    outputs = _finish(_start_both(path))
    assert all("resumed     at env step" in output for output in outputs)
    for actual, expected in ((path, whole), (path / "process1", whole / "process1")):
        assert _agent(actual) == _agent(expected)
        for name in ("metrics", "episodes", "scores"):
            assert _lines(actual, name) == _lines(expected, name)


@pytest.mark.exhaustive
def test_their_updates_are_those_of_one_process_on_both_halves():
    coordinator = _coordinator()
    processes = [_start(COMPARE, "rowwise", "float32", coordinator, i) for i in range(2)]
    for output in _finish(processes):
        differences = json.loads(output.splitlines()[-1])
        assert differences.pop("moved") > 0.1
        assert max(differences.values()) < 1e-5  # as for several devices


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--distributed.processes", "2"], "`run` must be given with several"),
        (["--distributed.process_id", "1"], "`distributed.process_id` must be in 0 to 0, got 1"),
        (["--seeds", "2"], "`seeds` must be 1 with several `distributed.processes`, got 2"),
        (["--env.num_envs", "3"], "`env.num_envs` must be a multiple of `distributed.processes`"),
        (["--replay.batch_size", "3"], "`replay.batch_size` must be a multiple of"),
        (["--checkpoint.keep", "1"], "`checkpoint.keep` must be at least 2 with several"),
        (["--offline", "there"], "`offline` must be None with several `distributed.processes`"),
    ],
)
def test_bad_settings_are_one_line(args, message):
    flags = [] if args[0].startswith("--dist") else ["--distributed.processes", "2", "--run", "x"]
    with pytest.raises(UsageError, match=message) as error:
        parse_config([*flags, *args])
    assert "\n" not in str(error.value)
