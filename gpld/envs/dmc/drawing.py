"""Pictures of an episode, drawn in a process of its own.

OpenGL is a matter of that process alone: whoever trains or evaluates never loads it. An episode
of dm_control follows from the seed of its environment and the actions, so that nothing else has
to be handed over. One that another engine has simulated is drawn from its states.
"""

import contextlib
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from ...errors import MachineError, UsageError
from ...machine.subprocesses import Child
from ...suite import TASKS, canonical_name
from ..own import in_workers, is_own
from ..timestep import Environment
from .opengl import CAMERAS, find_backend

# Seconds within which the process must have sent its first picture, and the next ones.
_PATIENCE = 120


class Repetition(NamedTuple):
    """Episode that is drawn by repeating it, and the size of its pictures."""

    task: str
    seed: int
    action_repeat: int
    actions: Float32[np.ndarray, "time action"]
    score: float
    """Return of the episode, as far as the actions go."""

    height: int = 240
    width: int = 320


class OwnRepetition(NamedTuple):
    """Episode of an environment of one's own, which draws its pictures itself."""

    task: str
    factory: Callable[..., Environment]
    """Makes the environment from a seed, with its pictures among what it observes."""

    seed: int
    actions: Shaped[np.ndarray, "time ..."]
    score: float
    """Return of the episode, as far as the actions go."""


class Playback(NamedTuple):
    """Episode that was simulated elsewhere, state by state, and the size of its pictures."""

    task: str
    action_repeat: int
    qpos: Float[np.ndarray, "time nq"]
    qvel: Float[np.ndarray, "time nv"]
    act: Float[np.ndarray, "time na"]
    model: dict[str, np.ndarray]
    """Arrays of the model into which the task has drawn something, by their names."""

    score: float
    """Return of the episode."""

    height: int = 240
    width: int = 320


class Drawing(contextlib.AbstractContextManager):
    """Pictures of an episode, one for each env step, as they are drawn.

    Without shadows and reflections, with which a processor takes four times as long.

    Attributes:
        fps: Env steps per simulated second.
        score: Return of what was drawn, once all pictures have been taken.
    """

    fps: float
    score: float

    def __init__(self, episode: Repetition | OwnRepetition | Playback):
        """Start the process, which resets its environment.

        Args:
            episode: The episode; the seed of one to repeat is the one of `make_env`.

        Raises:
            UsageError: If tasks of this kind, or this one, cannot be drawn.
            MachineError: If no OpenGL library works, or the process failed.
        """
        if not can_draw(episode.task):
            raise UsageError(f"{episode.task} has no picture, or none that a process can draw.")
        self._child = Child(
            draw_on_request,
            name="The drawing process",
            error=MachineError,
            timeout=_PATIENCE,
            quiet=True,
            MUJOCO_GL=_backend(episode.task),
            JAX_PLATFORMS="cpu",
        )
        try:
            self._child.send(episode)
            self.fps = self._child.recv()
        except BaseException:
            self._child.close()
            raise

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Take the pictures, once.

        Raises:
            MachineError: If the process failed.
        """
        while isinstance(message := self._child.recv(), np.ndarray):
            yield message
        self.score = message

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._child.close()


def can_draw(task: str) -> bool:
    """Return whether there is anything to see of a task."""
    return canonical_name(task) in TASKS or (is_own(task) and in_workers(task))


def _backend(task: str) -> str:
    """Return the OpenGL library to draw a task with; environments of one's own may need none."""
    try:
        return find_backend()
    except MachineError:
        if not is_own(task):
            raise
        return ""


def draw_on_request(connection: Connection) -> None:
    """Send frames per second, pictures and return of an episode; runs in the drawing process.

    Args:
        connection: The process's end of the pipe.
    """
    episode = connection.recv()
    if isinstance(episode, OwnRepetition):
        _draw_own(connection, episode)
        return
    from .env import DMControl  # imports dm_control

    seed = episode.seed if isinstance(episode, Repetition) else 0
    env = DMControl(episode.task, action_repeat=episode.action_repeat, seed=seed)
    physics = env._env.physics
    # Undoes what keeps tasks from drawing: quadruped_escape hands over its terrain only to
    # contexts that can be made.
    vars(physics).pop("_make_rendering_contexts", None)
    domain, _ = TASKS[env.name]
    connection.send(1 / (env._env.control_timestep() * episode.action_repeat))
    score = 0.0
    scenes = _repeat(env, episode) if isinstance(episode, Repetition) else _play(env, episode)
    for score in scenes:  # noqa: B007
        picture = physics.render(
            episode.height,
            episode.width,
            camera_id=CAMERAS.get(domain, 0),
            render_flag_overrides={"shadow": False, "reflection": False},
        )
        connection.send(picture)
    env.close()
    connection.send(score)


def _draw_own(connection: Connection, episode: OwnRepetition) -> None:
    """Send frames per second, pictures and return of an episode that draws itself."""
    env: Any = episode.factory(seed=episode.seed)
    connection.send(env.fps)
    step, score = env.reset(), 0.0
    connection.send(step.observation[env.frame_name])
    for action in episode.actions:
        step = env.step(action)
        score += float(step.reward)
        connection.send(step.observation[env.frame_name])
        if step.is_last:
            break
    env.close()
    connection.send(score)


def _repeat(env: Any, episode: Repetition) -> Iterator[float]:
    """Put the environment into each state of the episode; yield the return so far."""
    step, score = env.reset(), 0.0
    yield score
    for action in episode.actions:
        step = env.step(action)
        score += float(step.reward)
        yield score
        if step.is_last:
            break


def _play(env: Any, episode: Playback) -> Iterator[float]:
    """Put the environment into each of the known states; yield the known return."""
    env.reset()
    physics = env._env.physics
    for name, array in episode.model.items():
        getattr(physics.model.ptr, name)[...] = array
    for qpos, qvel, act in zip(episode.qpos, episode.qvel, episode.act, strict=True):
        physics.data.qpos[:], physics.data.qvel[:], physics.data.act[:] = qpos, qvel, act
        physics.forward()
        yield episode.score
