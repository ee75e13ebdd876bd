"""Environments of gymnax."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import gymnax  # pyright: ignore[reportMissingImports] (an extra)
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnax.environments import spaces  # pyright: ignore[reportMissingImports]
from jaxtyping import Array, PRNGKeyArray, Shaped

from ...errors import UsageError
from ..functional.env import FunctionalEnv
from ..functional.episodes import Episodes
from ..timestep import EnvSpec, TimeStep
from .actions import Continuous, Discrete
from .arrays import Place, announce, shown
from .functional_env import cast, convert_action, observe


def known() -> Collection[str]:
    """Return the names of the environments that there are."""
    return gymnax.registered_envs


def make(name: str, kwargs: Mapping[str, Any]) -> FunctionalEnv:
    """Make an environment, whose time limit truncates.

    Args:
        name: One of `known()`.
        kwargs: Its parameters, and arguments of its constructor.
    """
    _, params = gymnax.make(name)
    changed = {key: value for key, value in kwargs.items() if hasattr(params, key)}
    rest = {key: value for key, value in kwargs.items() if key not in changed}
    try:
        env, params = gymnax.make(name, **rest)
    except TypeError as error:
        fields = ", ".join(field.name for field in dataclasses.fields(params))
        raise UsageError(f"`env.kwargs` must be parameters of {name} ({fields}): {error}") from None
    params = dataclasses.replace(params, **changed)
    return Episodes(GymnaxEnv(env, params), limit=int(params.max_steps_in_episode))


class GymnaxState(NamedTuple):
    """An environment of gymnax, and the key of its next step."""

    env: Any
    key: PRNGKeyArray
    timestep: TimeStep


class GymnaxEnv:
    """`FunctionalEnv` of gymnax, without its automatic resets and its time limit.

    Attributes:
        spec: Shapes and sizes of the task.
    """

    spec: EnvSpec

    def __init__(self, env: Any, params: Any):
        """Take an environment and its parameters.

        Raises:
            UsageError: If its spaces are not possible here.
        """
        self._env, self._params = env, params
        self._action = _actions(env.action_space(params))
        self._arrays = announce(_places(env.observation_space(params), ()), None)
        observed = {name: array.spec for name, array in self._arrays.items()}
        size, discrete = self._action.size, self._action.discrete
        self.spec = EnvSpec(observed, size, 1, 0, discrete=discrete)
        key, form = jr.key(0), self.spec.action
        # Numbers of Python that a reset leaves are arrays after a step.
        _, start = jax.eval_shape(lambda key: env.reset_env(key, params), key)
        action = jax.ShapeDtypeStruct(form.shape, form.dtype)
        self._like = jax.eval_shape(self._step, key, start, action)[1]

    def reset(self, key: PRNGKeyArray) -> GymnaxState:
        """Start an episode."""
        key, reset_key = jr.split(key)
        observation, state = self._env.reset_env(reset_key, self._params)
        no = jnp.zeros((), bool)
        observed = observe(observation, self._arrays)
        timestep = TimeStep(observed, jnp.zeros((), jnp.float32), ~no, no, no)
        return GymnaxState(cast(state, self._like), key, timestep)

    def step(self, state: GymnaxState, action: Shaped[Array, "..."]) -> GymnaxState:
        """Take a step."""
        key, step_key = jr.split(state.key)
        observation, own, reward, terminated = self._step(step_key, state.env, action)
        terminated = jnp.asarray(terminated, bool).reshape(())
        timestep = TimeStep(
            observation=observe(observation, self._arrays),
            reward=jnp.asarray(reward, jnp.float32).reshape(()),
            is_first=jnp.zeros((), bool),
            is_last=terminated,
            is_terminal=terminated,
        )
        return GymnaxState(cast(own, self._like), key, timestep)

    def _step(self, key: Any, state: Any, action: Any) -> tuple[Any, Any, Any, Any]:
        """Take a step of its own, which says whether the task has ended but not the time."""
        own = convert_action(self._action, action)
        return self._env.step_env(key, state, own, self._params)[:4]


def _actions(space: Any) -> Discrete | Continuous:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        dtype, name = np.dtype(space.dtype), shown(space)
        return Continuous(space.low, space.high, tuple(space.shape), dtype, space=name)
    raise UsageError(f"Actions must be a Box or Discrete, but the space is {shown(space)}.")


def _places(space: Any, path: tuple[Any, ...]) -> Iterator[Place]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces
        for key, part in parts.items() if isinstance(parts, Mapping) else enumerate(parts):
            yield from _places(part, (*path, key))
    elif isinstance(space, spaces.Discrete):
        yield Place(path, (), np.dtype(space.dtype), int(space.n))
    elif isinstance(space, spaces.Box):
        yield Place(path, tuple(space.shape), np.dtype(space.dtype))
    else:
        raise UsageError(
            "Observations must be of Box, Dict, Tuple and Discrete, but the space is "
            f"{shown(space)}."
        )
