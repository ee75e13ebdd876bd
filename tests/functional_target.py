"""A functional environment of the tests' own: discrete, random, without a time limit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from gpld.envs import ArraySpec, EnvSpec, TimeStep


class TargetState(NamedTuple):
    place: jax.Array
    key: jax.Array
    timestep: TimeStep


class Target:
    """Pays 1 at each step that goes right, and ends at the last place; every fifth step slips."""

    def __init__(self, size=5):
        self.size = size
        self.spec = EnvSpec({"place": ArraySpec((), np.dtype(np.int32), size)}, 2, 1, 0, True)

    def reset(self, key):
        key, place_key = jr.split(key)
        place = jr.randint(place_key, (), 0, self.size - 1)
        return self._state(place, key, 0.0, is_first=True)

    def step(self, state, action):
        key, slip_key = jr.split(state.key)
        right = (action == 1) & ~jr.bernoulli(slip_key, 0.2)
        place = jnp.maximum(state.place + jnp.where(right, 1, -1), 0)
        return self._state(place, key, right.astype(jnp.float32), is_first=False)

    def _state(self, place, key, reward, *, is_first):
        place = place.astype(jnp.int32)
        end = place >= self.size - 1
        timestep = TimeStep(
            {"place": place}, jnp.asarray(reward, jnp.float32), jnp.array(is_first), end, end
        )
        return TargetState(place, key, timestep)
