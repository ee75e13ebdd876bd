"""Environments of Gymnasium."""

from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ...errors import UsageError
from ..timestep import EnvState
from . import gymnasium_state
from .actions import Continuous, Discrete
from .adapter import Outcome
from .arrays import Place, shown

_RESET = ("observation", "info")
_STEP = ("observation", "reward", "terminated", "truncated", "info")


class GymnasiumEnv:
    """`Foreign` environment of Gymnasium. It is never reset by itself, and its `info` is ignored.

    Attributes:
        action: Conversion of actions.
        space: Its space of observations.
        limit: Steps of the time limit that Gymnasium has put around it; None without one.
        resumable: Whether its state is known.
        fps: Its steps per second of what its pictures show; 30 where it does not say.
    """

    action: Discrete | Continuous
    space: spaces.Space
    limit: int | None
    resumable: bool
    fps: float

    def __init__(self, env: gymnasium.Env):
        """Take over `env`.

        Raises:
            UsageError: If actions of its kind are not possible here.
        """
        self._env = env
        self.action = _actions(env.action_space)
        self.space = env.observation_space
        self.limit = min(gymnasium_state.time_limits(env), default=None)
        self.resumable = gymnasium_state.is_known(env)
        self.fps = float(env.metadata.get("render_fps") or 30)

    def places(self) -> Iterable[Place]:
        """Return the arrays of an observation."""
        return _places(self.space, ())

    def reset(self, seed: int | None) -> Any:
        """Begin an episode.

        Raises:
            ValueError: If something else comes than from environments of Gymnasium.
        """
        observation, _ = _values("reset", self._env.reset(seed=seed), _RESET)
        return observation

    def step(self, action: Any) -> Outcome:
        """Take one step.

        Raises:
            ValueError: If something else comes than from environments of Gymnasium.
        """
        return Outcome(*_values("step", self._env.step(action), _STEP)[:4])

    def frame(self) -> Any:
        """Return a picture of where it is.

        Raises:
            UsageError: If it draws none.
        """
        if self._env.render_mode != "rgb_array":
            raise UsageError(
                "there are no pictures without the `render_mode` rgb_array, but it is "
                f"{self._env.render_mode}; "
                """`--env.kwargs '{"render_mode": "rgb_array"}'` may ask for them."""
            )
        return self._env.render()

    def get_state(self) -> EnvState:
        """Return its state, if it is resumable."""
        return gymnasium_state.take(self._env)

    def set_state(self, state: EnvState) -> None:
        """Go on with an episode, if it is resumable."""
        gymnasium_state.restore(self._env, state)

    def close(self) -> None:
        """Release what it holds."""
        self._env.close()


def _values(method: str, values: Any, names: tuple[str, ...]) -> Any:
    """Return what a method has returned, if it is as many values as Gymnasium's methods return.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(values, tuple | list) or len(values) != len(names):
        several = isinstance(values, tuple | list)
        got = f"{len(values)} values" if several else type(values).__name__
        raise ValueError(f"`{method}` must return ({', '.join(names)}), got {got}")
    return values


def _actions(space: spaces.Space) -> Discrete | Continuous:
    if isinstance(space, spaces.Discrete) and space.n < 2**31:
        return Discrete(int(space.n), int(space.start))
    if isinstance(space, spaces.Box):
        name = shown(space)
        return Continuous(space.low, space.high, space.shape, np.dtype(space.dtype), space=name)
    raise UsageError(f"Actions must be a Box or Discrete, but the space is {shown(space)}.")


def _places(space: spaces.Space, path: tuple[Any, ...]) -> Iterator[Place]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces
        for key, part in parts.items() if isinstance(parts, dict) else enumerate(parts):
            yield from _places(part, (*path, key))
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        yield Place(path, space.shape, np.dtype(space.dtype))
    elif isinstance(space, spaces.Discrete):
        yield Place(path, (), np.dtype(space.dtype), int(space.n), int(space.start))
    elif isinstance(space, spaces.MultiDiscrete):
        sizes, starts = set(space.nvec.flat), set(space.start.flat)
        if len(sizes) == len(starts) == 1:
            dtype = np.dtype(space.dtype)
            yield Place(path, space.shape, dtype, int(sizes.pop()), int(starts.pop()))
        else:
            for index in np.ndindex(space.shape):
                size, start = int(space.nvec[index]), int(space.start[index])
                yield Place((*path, *index), (), np.dtype(space.dtype), size, start)
    else:
        raise UsageError(
            "Observations must be of Box, Dict, Tuple, Discrete, MultiBinary and MultiDiscrete, "
            f"but the space is {shown(space)}."
        )
