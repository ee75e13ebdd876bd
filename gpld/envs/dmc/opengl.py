"""OpenGL library that draws; each candidate is tried in a process that may die of it."""

import functools
import importlib
import os
import sys

from ...errors import MachineError
from ...machine.subprocesses import Outcome, run_python

# Seconds within which a library must have drawn its first picture.
_PATIENCE = 120

# What dm_control takes for "no rendering". `gpld.envs.dmc.env` sets "off" itself, so that it says
# nothing about what the user wants.
_OFF = ("", "off", "disable", "disabled", "false", "0")

CAMERAS = {"quadruped": 2}
"""Cameras of the domains that are not seen by their first one, as in DreamerV3."""


def find_backend() -> str:
    """Return the OpenGL library to draw with: the first of EGL, OSMesa and GLFW that works.

    GLFW needs a display. A library that the user has chosen by MUJOCO_GL is the only one
    that is tried.

    Raises:
        MachineError: If none works; says why, and what to install if that may help.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if chosen not in _OFF:
        candidates = (chosen,)
    elif sys.platform in ("darwin", "win32"):
        candidates = ("glfw",)
    else:
        display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        candidates = ("egl", "osmesa", "glfw") if display else ("egl", "osmesa")
    for backend in candidates:
        if _try(backend).ok:
            return backend
    started, problem = _try("off")
    if not started:
        raise MachineError(f"dm_control does not start, so nothing can be drawn: {problem}.")
    if chosen not in _OFF:
        reason = _try(chosen).text
        raise MachineError(
            f"MUJOCO_GL={chosen} cannot draw here ({reason}); unset it to have others tried."
        )
    problems = "; ".join(f"{backend}: {_try(backend).text}" for backend in candidates)
    advice = "`apt install libegl1 libgl1` or `apt install libosmesa6` adds one."
    if sys.platform == "darwin":  # which has no other
        advice = "GLFW draws for a user who is logged in at the screen, and not through SSH."
    raise MachineError(f"No OpenGL library can draw here ({problems}); {advice}")


def draw_with(backend: str) -> None:
    """Let dm_control draw in this process, also if it was imported without OpenGL.

    Args:
        backend: The result of `find_backend`.
    """
    from dm_control import _render

    if backend != _render.BACKEND:
        os.environ["MUJOCO_GL"] = backend
        importlib.reload(_render)  # reads the variable


@functools.cache
def _try(backend: str) -> Outcome:
    """Try a library, or "off" for none, in a process; the text says why it does not draw."""
    code = f"from {__name__} import draw_ball; draw_ball()"
    return run_python(code, timeout=_PATIENCE, MUJOCO_GL=backend)


def draw_ball() -> None:
    """Draw a ball and look whether it is there; runs in a process that tries a library.

    Raises:
        RuntimeError: If it is not.
    """
    from dm_control import mujoco

    physics = mujoco.Physics.from_xml_string(
        "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>"
    )
    if os.environ["MUJOCO_GL"] == "off":  # only whether dm_control starts
        return
    picture = physics.render(64, 64)
    physics.free()
    if not picture.any():
        raise RuntimeError("its pictures are black")
