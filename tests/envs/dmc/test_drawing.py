"""Pictures of repeated episodes; skipped where no OpenGL library draws."""

import itertools
import os
import signal
import sys

import numpy as np
import pytest

from gpld.envs import make_env
from gpld.envs.dmc.drawing import Drawing, Repetition, can_draw
from gpld.errors import MachineError, UsageError

pytestmark = pytest.mark.slow


def repetition(task, num_steps, **changes):
    env = make_env(task, seed=4, action_repeat=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (num_steps, env.spec.action_size))
    actions = actions.astype(np.float32)
    env.reset()
    score = sum(float(env.step(action).reward) for action in actions)
    return Repetition(task, 4, 2, actions, score, 120, 160)._replace(**changes), score


# The terrain of quadruped_escape is drawn at every reset.
@pytest.mark.parametrize(
    ("task", "fps"), [("cartpole_balance", 50), ("walker_walk", 20), ("quadruped_escape", 25)]
)
def test_draws_every_step_of_the_same_episode(gl, task, fps):
    job, score = repetition(task, 4)
    with Drawing(job) as drawing:
        frames = list(drawing)
    assert drawing.fps == pytest.approx(fps)
    assert drawing.score == score
    assert [(f.shape, f.dtype) for f in frames] == [((120, 160, 3), np.uint8)] * 5
    assert all(frame.std() > 5 for frame in frames)
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_this_process_loads_no_opengl(gl):
    with Drawing(repetition("cartpole_balance", 1)[0]) as drawing:
        list(drawing)
    assert "OpenGL.GL" not in sys.modules


def test_an_error_in_the_process_is_one_line(gl):
    job, _ = repetition("cartpole_balance", 1)
    bad = np.full((1, 1), np.nan, np.float32)
    with Drawing(job._replace(actions=bad)) as drawing:
        with pytest.raises(MachineError, match="failed: ValueError: `action` must be finite") as e:
            list(drawing)
        assert "\n" not in str(e.value)


def test_a_process_that_dies_is_one_line(gl):
    with Drawing(repetition("cartpole_balance", 100)[0]) as drawing:
        next(iter(drawing))
        os.kill(drawing._child._process.pid, signal.SIGKILL)
        with pytest.raises(MachineError, match="died with exit code -9"):
            list(drawing)


def test_nobody_has_to_look_at_all_pictures(gl):
    with Drawing(repetition("cartpole_balance", 100)[0]) as drawing:
        next(iter(drawing))
    assert drawing._child._process.returncode == 0


def test_probes_have_no_picture():
    assert not can_draw("probe_memory")
    with pytest.raises(UsageError, match="probe_memory has no picture"):
        Drawing(Repetition("probe_memory", 0, 1, np.zeros((1, 1), np.float32), 0, 8, 8))
