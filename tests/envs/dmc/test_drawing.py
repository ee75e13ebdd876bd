"""Choice of an OpenGL library, and pictures of repeated episodes.

What draws is skipped where no library does.
"""

import itertools
import os
import signal
import sys

import numpy as np
import pytest

from gpld.envs import make_env
from gpld.envs.dmc import drawing
from gpld.envs.dmc.drawing import Drawing, Repetition, can_draw, find_backend
from gpld.errors import MachineError, UsageError
from gpld.machine.subprocesses import Outcome

pytestmark = pytest.mark.slow


@pytest.fixture
def choose(monkeypatch):
    """Finds a library where only some draw, under some environment variables."""

    def choose(*working, **variables):
        for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        tried = []

        def attempt(backend):
            tried.append(backend)
            return Outcome(backend in (*working, "off"), "it is broken")

        monkeypatch.setattr(drawing, "_try", attempt)
        drawing._probe.cache_clear()
        try:
            return find_backend(), tried
        finally:
            drawing._probe.cache_clear()

    monkeypatch.setattr(sys, "platform", "linux")
    return choose


@pytest.mark.parametrize(
    ("working", "variables", "found", "tried"),
    [
        (["egl", "osmesa", "glfw"], {"DISPLAY": ":0"}, "egl", ["egl"]),
        (["osmesa", "glfw"], {"DISPLAY": ":0"}, "osmesa", ["egl", "osmesa"]),
        (["glfw"], {"DISPLAY": ":0"}, "glfw", ["egl", "osmesa", "glfw"]),
        (["glfw"], {"WAYLAND_DISPLAY": "x"}, "glfw", ["egl", "osmesa", "glfw"]),
        (["egl", "osmesa"], {"MUJOCO_GL": "osmesa"}, "osmesa", ["osmesa"]),
        (["egl"], {"MUJOCO_GL": "EGL"}, "egl", ["egl"]),
        # gpld itself sets this for tasks that do not draw.
        (["egl"], {"MUJOCO_GL": "off"}, "egl", ["egl"]),
    ],
)
def test_the_first_that_draws_is_chosen(choose, working, variables, found, tried):
    assert choose(*working, **variables) == (found, tried)


@pytest.mark.parametrize(
    ("working", "variables", "message"),
    [
        (
            [],
            {},
            r"\(tried egl, osmesa\); `apt install libegl1 libgl1` or `apt install libosmesa6`",
        ),
        (["glfw"], {}, r"\(tried egl, osmesa\);"),
        (["egl"], {"MUJOCO_GL": "osmesa"}, r"MUJOCO_GL=osmesa cannot draw here \(it is broken\)"),
    ],
)
def test_a_machine_without_any_is_one_line(choose, working, variables, message):
    with pytest.raises(MachineError, match=message) as error:
        choose(*working, **variables)
    assert "\n" not in str(error.value)


def test_libraries_that_fail_for_real_are_passed_over(monkeypatch):
    # dm_control can load neither EGL nor OSMesa for this platform of PyOpenGL.
    monkeypatch.setenv("PYOPENGL_PLATFORM", "glx")
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    _clear()
    with pytest.raises(MachineError, match="`apt install libegl1 libgl1`"):
        find_backend()
    _clear()


def _clear():
    drawing._probe.cache_clear()
    drawing._try.cache_clear()


def repetition(task, num_steps, **changes):
    env = make_env(task, seed=4, action_repeat=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (num_steps, env.spec.action_size))
    actions = actions.astype(np.float32)
    env.reset()
    score = sum(float(env.step(action).reward) for action in actions)
    return Repetition(task, 4, 2, actions, 120, 160)._replace(**changes), score


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
        os.kill(drawing._process.pid, signal.SIGKILL)
        with pytest.raises(MachineError, match="died with exit code -9"):
            list(drawing)


def test_nobody_has_to_look_at_all_pictures(gl):
    with Drawing(repetition("cartpole_balance", 100)[0]) as drawing:
        next(iter(drawing))
    assert drawing._process.returncode == 0


def test_probes_have_no_picture():
    assert not can_draw("probe_memory")
    with pytest.raises(UsageError, match="probe_memory has no picture"):
        Drawing(Repetition("probe_memory", 0, 1, np.zeros((1, 1), np.float32), 8, 8))
