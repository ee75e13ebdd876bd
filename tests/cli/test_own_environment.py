"""A file of one's own, from the command: what is stored of its name runs no code."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_script import SCRIPTS, run

import gpld
from gpld.runs.folder import RunFolder

ENVIRONMENTS = Path(__file__).parent / "users_environments.py"


@pytest.mark.slow
def test_a_file_is_trained_on_from_the_beginning_to_the_plot(tmp_path):
    shutil.copy(ENVIRONMENTS, tmp_path / "mine.py")
    path, task, kwargs = tmp_path / "run", f"{tmp_path / 'mine.py'}:Rooms", {"length": 20}
    args = ("--preset", "debug", "--task", task, "--env.kwargs", json.dumps(kwargs))
    args += ("--env_steps", "100000", "--log.every", "20", "--env.workers", "1")
    process = subprocess.Popen(
        [sys.executable, SCRIPTS / "train.py", *args, "--run", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and len(RunFolder(path).read("metrics")) < 5:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate()
    assert process.returncode == 75, errors
    assert "vectors house/lamps 4, house/room 1 of 3 classes, obs/reward 2" in output
    assert "begin anew when the run is resumed" in output
    assert f"--task {task}" in output.splitlines()[-2]  # what goes on with it
    reached = RunFolder(path).latest_checkpoint().name

    # What is stored runs no code, until the name is given again.
    (tmp_path / "mine.py").rename(tmp_path / "elsewhere.py")
    agent = gpld.load(path)
    assert agent.config.env.kwargs == json.dumps(kwargs)
    (tmp_path / "elsewhere.py").rename(tmp_path / "mine.py")
    longer = ("--env_steps", str(int(reached) + 100))
    for script, own in (("train.py", ("--resume", path, *longer)), ("evaluate.py", (path,))):
        refused = run(script, *own)
        assert refused.returncode == 2
        assert refused.stderr.startswith("error: The task of this name is code of your own")
        assert refused.stderr.count("\n") == 1
    resumed = run("train.py", "--resume", path, *longer, "--task", task)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed     at env step {int(reached):,} from" in resumed.stdout

    evaluated = run("evaluate.py", path, "--task", task, "--episodes", "2")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "over 2 episodes" in evaluated.stdout
    # The file may be moved, wherever its name is given again.
    (tmp_path / "new place").mkdir()
    new = (tmp_path / "mine.py").rename(tmp_path / "new place" / "mine.py")
    moved = f"{new}:Rooms"
    evaluated = run("evaluate.py", path, "--task", moved, "--episodes", "1")
    assert evaluated.returncode == 0, evaluated.stderr
    assert f"{task} is {moved} now\n" in evaluated.stdout
    measured = run("sensitivity.py", path, "--task", moved, "--states", "5")
    assert measured.returncode == 0, measured.stderr
    longer = ("--env_steps", str(int(reached) + 150))
    resumed = run("train.py", "--resume", path, *longer, "--task", moved)
    assert resumed.returncode == 0, resumed.stderr
    assert f"moved       {task} is {moved} now\n" in resumed.stdout
    *_, longer, _, evaluate = resumed.stdout.splitlines()
    assert f"--task '{moved}'" in longer
    assert f"--task '{moved}'" in evaluate
    assert RunFolder(path).config().task == moved

    plotted = run("plot.py", path, "--out", tmp_path / "plots")
    assert plotted.returncode == 0, plotted.stderr
