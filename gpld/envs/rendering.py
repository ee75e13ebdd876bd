"""Pictures of an episode, drawn by repeating it in a process of its own.

OpenGL is a matter of that process alone: which library works is found out in processes that
may die of it, and whoever trains or evaluates never loads one. An episode follows from the seed
of its environment and the actions, so that nothing else has to be handed over.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from ..errors import MachineError, UsageError
from ..subprocesses import Outcome, python_command, python_environment, run_python
from . import probe

# Seconds within which a library must have drawn its first picture, and the next ones.
_PATIENCE = 120

# What dm_control takes for "no rendering". `gpld.envs.dmc` sets "off" itself, so that it says
# nothing about what the user wants.
_OFF = ("", "off", "disable", "disabled", "false", "0")

# Cameras that show more of a domain than its first one.
_CAMERAS = {"quadruped": 2}


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
    code = "from gpld.envs.rendering import draw; draw()"
    return run_python(code, timeout=_PATIENCE, MUJOCO_GL=backend)


def draw() -> None:
    """Runs in a process that tries a library: draws a ball and looks whether it is there."""
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


class Drawing(contextlib.AbstractContextManager):
    """The pictures of an episode, one for each env step, as they are drawn.

    Without shadows and reflections, with which a processor takes four times as long.

    Attributes:
        fps: Env steps per simulated second.
        score: Return of the repetition, once all pictures have been taken.
    """

    fps: float
    score: float

    def __init__(self, repetition: Repetition):
        """Starts the process, which resets its environment.

        Args:
            repetition: The episode; its seed is the one of `make_env`.

        Raises:
            UsageError: If tasks of this kind cannot be drawn.
            MachineError: If no OpenGL library works, or the process failed.
        """
        if not can_draw(repetition.task):
            raise UsageError(f"{repetition.task} has no picture: only tasks of dm_control do.")
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
            self._connection.send(repetition)
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


_SERVE = "from gpld.envs.rendering import serve; serve({})"


def serve(descriptor: int) -> None:
    """Runs in the drawing process: sends frames per second, pictures and return.

    Args:
        descriptor: File descriptor of the process's end of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection, contextlib.suppress(BrokenPipeError):
        try:
            for message in _repeat(connection.recv()):
                connection.send(message)
        except BrokenPipeError:
            raise  # nobody looks any more
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}".splitlines()[0])


def _repeat(repetition: Repetition) -> Iterator[float | np.ndarray]:
    from .dmc import ALIASES, TASKS, DMControl

    task, seed, action_repeat, actions, height, width = repetition
    env = DMControl(task, action_repeat=action_repeat, seed=seed)
    physics = env._env.physics
    # Undoes what keeps tasks from drawing: quadruped_escape hands over its terrain only to
    # contexts that can be made.
    vars(physics).pop("_make_rendering_contexts", None)
    domain, _ = TASKS[ALIASES.get(task, task)]
    yield 1 / (env._env.control_timestep() * action_repeat)

    def picture():
        return physics.render(
            height,
            width,
            camera_id=_CAMERAS.get(domain, 0),
            render_flag_overrides={"shadow": False, "reflection": False},
        )

    step, score = env.reset(), 0.0
    yield picture()
    for action in actions:
        step = env.step(action)
        score += float(step.reward)
        yield picture()
        if step.is_last:
            break
    env.close()
    yield score
