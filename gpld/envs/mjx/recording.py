"""Episodes that MJX has simulated, to be drawn by MuJoCo."""

import copy

import numpy as np

from ..dmc.drawing import Playback
from .env import MJXEnv
from .simulation import SimulationState


def playback(env: MJXEnv, states: SimulationState, *, score: float = 0.0) -> Playback:
    """Convert an episode to what `Drawing` and `play_video` draw.

    Args:
        env: The environment.
        states: The states of one episode, each array after an axis of time.
        score: Return of the episode.
    """
    qpos, qvel, act, _, target = (np.asarray(array, np.float64) for array in states)
    model = copy.copy(env.model.model)
    env.simulation.target.draw_into(model, target[0])
    return Playback(
        task=env.model.name,
        action_repeat=env.spec.action_repeat,
        qpos=qpos,
        qvel=qvel,
        act=act,
        model={name: getattr(model, name).copy() for name in env.task.drawn},
        score=score,
    )
