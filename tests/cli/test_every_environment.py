"""One environment of each kind by the command: train, kill, resume, evaluate, plot."""

import csv
import json
import math
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from run_script import run
from stopped_runs import finish, outcome, start

from gpld.runs.folder import RunFolder
from gpld.suite import short_name

ENVIRONMENTS = Path(__file__).parent / "users_environments.py"
ENV_STEPS = 400
TINY = (
    *("--preset", "debug", "--env.workers", "1", "--env_steps", str(ENV_STEPS)),
    *("--replay.train_ratio", "16", "--log.every", "20", "--log.no_tensorboard"),
    *("--checkpoint.every", "30", "--evaluation.every", "150", "--platform", "cpu"),
)
DEVICE = ("--env.workers", "0", "--env.backend", "mjx", "--loop", "device")
SHORT = ("--env.kwargs", '{"episode_length": 60}')
# Of extras, which a plain installation has not.
PACKAGES = {"gymnax": "gymnax", "playground": "mujoco_playground"}

pytestmark = pytest.mark.exhaustive


def case(task, name, lowest, best, *args, resumes=True):
    """A task, bounds of its returns, and whether its episodes go on at a resume."""
    return pytest.param(task, args, (lowest, best), resumes, id=name)


@pytest.mark.parametrize(
    ("task", "args", "returns", "resumes"),
    [
        case("./my_env.py:make_env", "file", 0, 25),
        case("./my_env.py:Catch", "picture", -1, 1, resumes=False),
        case("./my_env.py:Rooms", "dictionary", -25, 0, resumes=False),
        case("./my_env.py:make_walk", "dm_env", 20, 20, resumes=False),
        case("gymnasium:CartPole-v1", "CartPole", 1, 500),
        # 200 steps, each of which costs at most pi^2 + 0.1 * 8^2 + 0.001 * 2^2.
        case("gymnasium:Pendulum-v1", "Pendulum", -3255, 0),
        case("gymnasium:Hopper-v5", "Hopper", -100, 5000),
        case("gymnax:CartPole-v1", "gymnax", 1, 500),
        case("gymnax:CartPole-v1", "gymnax-device", 1, 500, *DEVICE),
        case("playground:CartpoleBalance", "playground", 0, 60, *SHORT),
        case("playground:CartpoleBalance", "playground-device", 0, 60, *SHORT, *DEVICE),
    ],
)
def test_one_is_trained_on_killed_resumed_evaluated_and_plotted(
    task, args, returns, resumes, tmp_path, monkeypatch
):
    package = PACKAGES.get(task.partition(":")[0])
    if package is not None and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    shutil.copy(ENVIRONMENTS, tmp_path / "my_env.py")
    monkeypatch.chdir(tmp_path)
    args = (*TINY, "--task", task, *args)
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    opening = finish(whole.path, args)
    assert ("begin anew when the run is resumed" in opening) != resumes
    reached = kill_after_a_checkpoint(killed, args)
    assert f"resumed     at env step {reached:,} from" in finish(killed.path, args)
    check_went_on(killed, whole, reached, bit_for_bit=resumes)

    evaluated = run("evaluate.py", killed.path, "--task", task, "--out", "all.json")
    assert evaluated.returncode == 0, evaluated.stderr
    [checkpoint] = json.loads(Path("all.json").read_text())["checkpoints"]
    [evaluation] = checkpoint["evaluations"]
    assert checkpoint["env_step"] == ENV_STEPS
    lowest, best = returns
    trained = [episode["score"] for episode in killed.read("episodes")]
    for score in (*evaluation["scores"], *trained):
        assert lowest <= score <= best
    if "CartPole" in task:  # a reward of 1 for each step after the reset
        assert [n - 1 for n in evaluation["lengths"]] == evaluation["scores"]

    plotted = run("plot.py", killed.path, "--out", "plots")
    assert plotted.returncode == 0, plotted.stderr
    check_plots(tmp_path / "plots", killed)


def kill_after_a_checkpoint(folder, args):
    """Kills a run in the midst of its updates; returns the env step that it goes on from."""
    process = start(folder.path, args)
    while process.poll() is None and not (folder.checkpoints() and len(folder.read("metrics")) > 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    reached = max(folder.checkpoints())
    assert 0 < reached < ENV_STEPS
    return reached


def check_went_on(killed, whole, reached, *, bit_for_bit):
    actual, expected = outcome(killed), outcome(whole)
    if bit_for_bit:
        assert actual == expected
    lines, others = actual[0]["metrics"], expected[0]["metrics"]
    before = [line for line in others if line["env_step"] <= reached]
    assert lines[: len(before)] == before
    # None is missing, and none is there twice.
    clocks = [(line["env_step"], line["update"]) for line in lines]
    assert clocks == [(line["env_step"], line["update"]) for line in others]
    assert clocks == sorted(set(clocks))
    assert clocks[-1][0] == ENV_STEPS
    assert clocks[-1][1] > 300
    assert all(math.isfinite(line["train/loss/dyn"]) for line in lines if line["update"])
    assert [line["env_step"] for line in killed.read("scores")] == [
        line["env_step"] for line in whole.read("scores")
    ]


def check_plots(plots, folder):
    """Returns are in the files as they were, under the name of the task, for a file its own."""
    task, scores = short_name(folder.config().task), folder.read("scores")
    with (plots / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["task"] for row in rows} == {task}
    assert [float(row["score"]) for row in rows] == [line["mean"] for line in scores]
    table, page = ((plots / name).read_text() for name in ("scores.md", "report.html"))
    [line] = [line for line in table.splitlines() if line.startswith(f"| {task} |")]
    assert line.startswith(f"| {task} | {scores[-1]['mean']:.1f} ")
    assert task in page
    assert "1000" not in table
    assert "return / 1000" not in page
    assert (plots / "curves.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(plots / "curves.png") as picture:
        assert picture.convert("L").getextrema() == (0, 255)
