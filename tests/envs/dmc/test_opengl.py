"""Choice of the OpenGL library that draws."""

import sys

import pytest

from gpld.envs.dmc import opengl
from gpld.envs.dmc.opengl import find_backend
from gpld.errors import MachineError
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
            return Outcome(backend in working, f"no {backend}")

        monkeypatch.setattr(opengl, "_try", attempt)
        return find_backend(), tried

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


def test_macos_has_its_own(choose, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose("egl", "osmesa", "glfw") == ("glfw", ["glfw"])
    with pytest.raises(MachineError, match=r"\(glfw: no glfw\); GLFW draws for .* at the screen"):
        choose("off", "egl", "osmesa")


@pytest.mark.parametrize(
    ("working", "variables", "message"),
    [
        (
            ["off"],
            {},
            r"\(egl: no egl; osmesa: no osmesa\); `apt install libegl1 libgl1` or "
            "`apt install libosmesa6`",
        ),
        (["off", "glfw"], {}, r"\(egl: no egl; osmesa: no osmesa\);"),
        (["off", "egl"], {"MUJOCO_GL": "osmesa"}, r"MUJOCO_GL=osmesa cannot draw .* \(no osmesa\)"),
        ([], {}, r"^dm_control does not start, so nothing can be drawn: no off\.$"),
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
    opengl._try.cache_clear()
    with pytest.raises(MachineError, match="`apt install libegl1 libgl1`"):
        find_backend()
    opengl._try.cache_clear()
