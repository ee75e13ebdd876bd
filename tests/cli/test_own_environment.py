"""A file of one's own, from the command: what is stored of its name runs no code."""

import json
import signal
import subprocess
import sys
import time

import pytest
from run_script import SCRIPTS, run

import gpld
from gpld.runs.folder import RunFolder

FILE = '''
import gymnasium
import numpy as np
from gymnasium import spaces


class Reach(gymnasium.Env):
    """Observes a dictionary; a picture with its channels first if it is asked to."""

    action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([1.0, 5.0]), dtype=np.float64)

    def __init__(self, picture=False):
        self.picture = picture
        self.observation_space = spaces.Dict(
            {"reward": spaces.Box(-np.inf, np.inf, (2,), np.float64), "where": spaces.Discrete(3)}
            if not picture
            else {"eye": spaces.Box(0, 255, (3, 16, 32), np.uint8)}
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.time = self.np_random.normal(size=2), 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.at += action / 10
        self.time += 1
        return self._observe(), -abs(self.at[0]), False, self.time == 25, {"action": action}

    def _observe(self):
        if self.picture:
            return {"eye": np.full((3, 16, 32), 10 * self.time, np.uint8)}
        return {"reward": self.at, "where": self.time % 3}
'''


@pytest.mark.parametrize(
    ("kwargs", "inputs"),
    [
        pytest.param({}, "obs/reward 2, where 1", marks=pytest.mark.slow),
        pytest.param({"picture": True}, "images eye 16 x 32 x 3", marks=pytest.mark.exhaustive),
    ],
    ids=["dictionary", "picture"],
)
def test_a_file_is_trained_on_from_the_beginning_to_the_plot(kwargs, inputs, tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    path, task = tmp_path / "run", f"{tmp_path / 'mine.py'}:Reach"
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
    assert inputs in output
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
    moved = f"{new}:Reach"
    evaluated = run("evaluate.py", path, "--task", moved, "--episodes", "1")
    assert evaluated.returncode == 0, evaluated.stderr
    assert f"{task} is {moved} now\n" in evaluated.stdout
    measured = run("sensitivity.py", path, "--task", moved, "--states", "5")
    assert measured.returncode == 0, measured.stderr
    longer = ("--env_steps", str(int(reached) + 150))
    resumed = run("train.py", "--resume", path, *longer, "--task", moved)
    assert resumed.returncode == 0, resumed.stderr
    assert f"moved       {task} is {moved} now\n" in resumed.stdout
    assert f"--task '{moved}'" in resumed.stdout.splitlines()[-2]
    assert RunFolder(path).config().task == moved

    plotted = run("plot.py", path, "--out", tmp_path / "plots")
    assert plotted.returncode == 0, plotted.stderr
