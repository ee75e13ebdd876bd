"""Functional environment with repeated actions and a time limit of ours."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from ..timestep import EnvSpec, TimeStep
from .env import FunctionalEnv


class EpisodesState(NamedTuple):
    """An environment and its clock."""

    env: Any
    elapsed: Int[Array, ""]
    """Its own steps since the reset."""

    timestep: TimeStep


class Episodes:
    """`FunctionalEnv` that repeats the actions of another, and truncates its episodes.

    Rewards of repeated actions are summed, up to the end of the episode.

    Attributes:
        spec: Shapes and sizes of the task.
    """

    spec: EnvSpec

    def __init__(self, env: FunctionalEnv, *, repeats: int = 1, limit: int | None = None):
        """Wrap an environment.

        Args:
            env: The environment.
            repeats: Its own steps for each action, at least 1.
            limit: Its own steps after which an episode is truncated, at least 1; None adds no
                limit.
        """
        steps = math.ceil((limit or env.spec.episode_steps) / repeats)
        action_repeat = env.spec.action_repeat * repeats
        self.spec = env.spec._replace(action_repeat=action_repeat, episode_steps=steps)
        self._env, self._repeats, self._limit = env, repeats, limit

    def reset(self, key: PRNGKeyArray) -> EpisodesState:
        """Start an episode."""
        state = self._env.reset(key)
        return EpisodesState(state, jnp.zeros((), jnp.int32), state.timestep)

    def step(self, state: EpisodesState, action: Shaped[Array, "..."]) -> EpisodesState:
        """Apply `action` for up to `repeats` of its own steps."""

        def own_step(old, _):
            env = self._env.step(old.env, action)
            elapsed, own = old.elapsed + 1, env.timestep
            is_last = own.is_last if self._limit is None else own.is_last | (elapsed == self._limit)
            reward = old.timestep.reward + own.reward
            new = EpisodesState(env, elapsed, own._replace(reward=reward, is_last=is_last))
            ended = old.timestep.is_last
            return jax.tree.map(lambda old, new: jnp.where(ended, old, new), old, new), None

        no = jnp.zeros((), bool)
        nothing = TimeStep(state.timestep.observation, jnp.zeros((), jnp.float32), no, no, no)
        start = state._replace(timestep=nothing)
        return jax.lax.scan(own_step, start, length=self._repeats)[0]
