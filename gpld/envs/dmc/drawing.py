"""Pictures of an episode, drawn in a process of its own.

OpenGL is a matter of that process alone: which library works is found out in processes that
may die of it, and whoever trains or evaluates never loads one. An episode of dm_control follows
from the seed of its environment and the actions, so that nothing else has to be handed over. One
that another engine has simulated is drawn from its states.
"""

import contextlib
import functools
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from ...errors import MachineError, UsageError
from ...machine.subprocesses import Outcome, python_command, python_environment, run_python
from .. import probe

# Seconds within which a library must have drawn its first picture, and the next ones.
_PATIENCE = 120

# What dm_control takes for "no rendering". `gpld.envs.dmc.env` sets "off" itself, so that it says
# nothing about what the user wants.
_OFF = ("", "off", "disable", "disabled", "false", "0")

CAMERAS = {"quadruped": 2}
"""Cameras of the domains that are not seen by their first one, as in DreamerV3."""


def find_backend() -> str:
    """The OpenGL library to draw with: the first of EGL, OSMesa and GLFW that works.

    GLFW needs a display. A library that the user has chosen by MUJOCO_GL is the only one
    that is tried.

    Raises:
        MachineError: If none works; says what to install.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if chosen not in _OFF:
        candidates = (chosen,)
    elif sys.platform in ("darwin", "win32"):
        candidates = ("glfw",)
    else:
        display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        candidates = ("egl", "osmesa", "glfw") if display else ("egl", "osmesa")
    drawn, outcome = _probe(candidates)
    if drawn:
        return outcome
    started, problem = _try("off")
    if not started:
        raise MachineError(f"dm_control does not start, so nothing can be drawn: {problem}.")
    if chosen not in _OFF:
        raise MachineError(
            f"MUJOCO_GL={chosen} cannot draw here ({outcome}); unset it to have others tried."
        )
    raise MachineError(
        f"No OpenGL library can draw here (tried {', '.join(candidates)}); "
        "`apt install libegl1 libgl1` or `apt install libosmesa6` adds one."
    )


def draw_with(backend: str) -> None:
    """Lets dm_control draw in this process, also if it was imported without OpenGL.

    Args:
        backend: What `find_backend` has found.
    """
    from dm_control import _render

    if backend != _render.BACKEND:
        os.environ["MUJOCO_GL"] = backend
        importlib.reload(_render)  # reads the variable


@functools.cache
def _probe(candidates: tuple[str, ...]) -> Outcome:
    """The first candidate that draws, or why the last one does not."""
    outcome = Outcome(False, "")
    for backend in candidates:
        outcome = _try(backend)
        if outcome.ok:
            return Outcome(True, backend)
    return outcome


@functools.cache
def _try(backend: str) -> Outcome:
    """Whether a library draws, or why not."""
    code = "from gpld.envs.dmc.drawing import draw; draw()"
    return run_python(code, timeout=_PATIENCE, MUJOCO_GL=backend)


def draw() -> None:
    """Runs in a process that tries a library: draws a ball and looks whether it is there.

    Raises:
        RuntimeError: If it is not.
    """
    from dm_control import mujoco

    physics = mujoco.Physics.from_xml_string(
        "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>"
    )
    if os.environ["MUJOCO_GL"] == "off":
        return
    picture = physics.render(64, 64)
    physics.free()
    if not picture.any():
        raise RuntimeError("its pictures are black")


class Repetition(NamedTuple):
    """The episode to repeat, and how large to draw it."""

    task: str
    seed: int
    action_repeat: int
    actions: Float32[np.ndarray, "time action"]
    height: int
    width: int


class Playback(NamedTuple):
    """An episode that was simulated elsewhere, state by state, and how large to draw it."""

    task: str
    action_repeat: int
    qpos: Float[np.ndarray, "time nq"]
    qvel: Float[np.ndarray, "time nv"]
    act: Float[np.ndarray, "time na"]
    model: dict[str, np.ndarray]
    """Arrays of the model into which the task has drawn something, by their names."""

    score: float
    """Return of the episode."""

    height: int
    width: int


class Drawing(contextlib.AbstractContextManager):
    """The pictures of an episode, one for each env step, as they are drawn.

    Without shadows and reflections, with which a processor takes four times as long.

    Attributes:
        fps: Env steps per simulated second.
        score: Return of what was drawn, once all pictures have been taken.
    """

    fps: float
    score: float

    def __init__(self, episode: Repetition | Playback):
        """Starts the process, which resets its environment.

        Args:
            episode: The episode; the seed of one to repeat is the one of `make_env`.

        Raises:
            UsageError: If tasks of this kind cannot be drawn.
            MachineError: If no OpenGL library works, or the process failed.
        """
        if not can_draw(episode.task):
            raise UsageError(f"{episode.task} has no picture: only tasks of dm_control do.")
        backend = find_backend()
        self._connection, remote = Pipe()
        with remote:
            descriptor = remote.fileno()
            self._process = subprocess.Popen(
                python_command(_SERVE.format(descriptor)),
                env=python_environment(MUJOCO_GL=backend),
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self._connection.send(episode)
            self.fps = self._recv()
        except BaseException:
            self.__exit__()
            raise

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Takes the pictures, once.

        Raises:
            MachineError: If the process failed.
        """
        while isinstance(message := self._recv(), np.ndarray):
            yield message
        self.score = message

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _recv(self):
        try:
            if not self._connection.poll(_PATIENCE):
                raise MachineError(f"The drawing process gave no answer within {_PATIENCE} s.")
            message = self._connection.recv()
        except (EOFError, OSError):
            code = self._process.wait()
            raise MachineError(f"The drawing process died with exit code {code}.") from None
        if isinstance(message, str):
            raise MachineError(f"The drawing process failed: {message}.")
        return message


def can_draw(task: str) -> bool:
    """Whether there is anything to see of a task."""
    return task not in probe.TASKS


_SERVE = "from gpld.envs.dmc.drawing import serve; serve({})"


def serve(descriptor: int) -> None:
    """Runs in the drawing process: sends frames per second, pictures and return.

    Args:
        descriptor: File descriptor of the process's end of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection, contextlib.suppress(BrokenPipeError):
        try:
            for message in _draw(connection.recv()):
                connection.send(message)
        except BrokenPipeError:
            raise  # nobody looks any more
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}".splitlines()[0])


def _draw(episode: Repetition | Playback) -> Iterator[float | np.ndarray]:
    from .env import TASKS, DMControl

    seed = episode.seed if isinstance(episode, Repetition) else 0
    env = DMControl(episode.task, action_repeat=episode.action_repeat, seed=seed)
    physics = env._env.physics
    # Undoes what keeps tasks from drawing: quadruped_escape hands over its terrain only to
    # contexts that can be made.
    vars(physics).pop("_make_rendering_contexts", None)
    domain, _ = TASKS[env.name]
    yield 1 / (env._env.control_timestep() * episode.action_repeat)

    def picture():
        return physics.render(
            episode.height,
            episode.width,
            camera_id=CAMERAS.get(domain, 0),
            render_flag_overrides={"shadow": False, "reflection": False},
        )

    score = 0.0
    scenes = _repeat(env, episode) if isinstance(episode, Repetition) else _play(env, episode)
    for scene_score in scenes:
        score = scene_score
        yield picture()
    env.close()
    yield score


def _repeat(env: Any, episode: Repetition) -> Iterator[float]:
    """Puts the environment into each state of the episode; gives the return so far."""
    step, score = env.reset(), 0.0
    yield score
    for action in episode.actions:
        step = env.step(action)
        score += float(step.reward)
        yield score
        if step.is_last:
            break


def _play(env: Any, episode: Playback) -> Iterator[float]:
    """The same for an episode whose states are known; gives its return."""
    env.reset()
    physics = env._env.physics
    for name, array in episode.model.items():
        getattr(physics.model.ptr, name)[...] = array
    for qpos, qvel, act in zip(episode.qpos, episode.qvel, episode.act, strict=True):
        physics.data.qpos[:], physics.data.qvel[:], physics.data.act[:] = qpos, qvel, act
        physics.forward()
        yield episode.score
