"""Environments of dm_env."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from ...errors import UsageError
from ..timestep import EnvState
from .actions import Continuous, Discrete
from .adapter import Outcome
from .arrays import Place, shown


class DmEnv:
    """`Foreign` environment of dm_env. Its class is seeded where it is made, not at a reset.

    Attributes:
        action: Conversion of actions.
        space: Its spec of observations.
        limit: None: dm_env does not say whether there is one.
        resumable: Whether it has `get_state` and `set_state`.
        fps: Of no account: it has no pictures.
    """

    action: Discrete | Continuous
    space: Any
    limit: int | None = None
    fps: float = 1.0
    resumable: bool

    def __init__(self, env: dm_env.Environment):
        """Take over `env`.

        Raises:
            UsageError: If actions of its kind are not possible here.
        """
        self._env: Any = env
        self.action = _actions(env.action_spec())
        self.space = env.observation_spec()
        self.resumable = hasattr(env, "get_state") and hasattr(env, "set_state")

    def places(self) -> Iterable[Place]:
        """Return the arrays of an observation."""
        return _places(self.space, ())

    def reset(self, seed: int | None) -> Any:
        """Begin an episode, whatever the seed."""
        return self._env.reset().observation

    def step(self, action: Any) -> Outcome:
        """Take one step. A last one with discount 0 has terminated, another was truncated."""
        timestep = self._env.step(action)
        last = timestep.last()
        terminated = last and timestep.discount == 0
        return Outcome(timestep.observation, timestep.reward, terminated, last)

    def frame(self) -> Any:
        """Raise an error: dm_env has no pictures."""
        raise UsageError(
            "there are no pictures of environments of dm_env, which says not how to draw them."
        )

    def get_state(self) -> EnvState:
        """Return its state, if it is resumable."""
        return self._env.get_state()

    def set_state(self, state: EnvState) -> None:
        """Go on with an episode, if it is resumable."""
        self._env.reset()
        self._env.set_state(state)

    def close(self) -> None:
        """Release what it holds."""
        self._env.close()


def _actions(spec: Any) -> Discrete | Continuous:
    if isinstance(spec, specs.DiscreteArray):
        return Discrete(spec.num_values)
    if isinstance(spec, specs.BoundedArray):
        bounds, dtype = (spec.minimum, spec.maximum), np.dtype(spec.dtype)
        return Continuous(*bounds, spec.shape, dtype, space=shown(spec))
    raise UsageError(
        f"Actions must be a BoundedArray or DiscreteArray, but the spec is {shown(spec)}."
    )


def _places(spec: Any, path: tuple[Any, ...]) -> Iterator[Place]:
    if isinstance(spec, Mapping):
        for key, part in spec.items():
            yield from _places(part, (*path, key))
    elif isinstance(spec, list | tuple):
        for index, part in enumerate(spec):
            yield from _places(part, (*path, index))
    elif isinstance(spec, specs.DiscreteArray):
        yield Place(path, (), np.dtype(spec.dtype), spec.num_values)
    elif isinstance(spec, specs.Array) and not isinstance(spec, specs.StringArray):
        yield Place(path, spec.shape, np.dtype(spec.dtype))
    else:
        raise UsageError(f"Observations must be arrays of numbers, but the spec is {shown(spec)}.")
