"""Environments of MuJoCo Playground: its suite of dm_control's tasks, which downloads nothing."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...errors import UsageError
from .. import mjx  # noqa: F401 (imports MJX without what that prints)
from ..functional.env import FunctionalEnv
from ..functional.episodes import Episodes
from ..timestep import EnvSpec, TimeStep
from .arrays import Place, announce
from .functional_env import cast, observe

# isort: split
from mujoco_playground import dm_control_suite  # pyright: ignore[reportMissingImports] (an extra)


def known() -> Collection[str]:
    """Return the names of the environments that there are."""
    return dm_control_suite.ALL_ENVS


def make(name: str, kwargs: Mapping[str, Any]) -> FunctionalEnv:
    """Make an environment, whose time limit truncates.

    Args:
        name: One of `known()`.
        kwargs: Settings that differ from those of its `default_config`; parts of parts are named
            with dots. It is simulated by MJX in JAX, unless `impl` says otherwise.
    """
    config: Any = dm_control_suite.get_default_config(name).lock()
    try:
        config.update_from_flattened_dict({"impl": "jax", **kwargs})
    except (KeyError, AttributeError, TypeError):
        fields = ", ".join(sorted(config))
        raise UsageError(
            f"`env.kwargs` must be settings of {name} ({fields}), got {dict(kwargs)}."
        ) from None
    env = PlaygroundEnv(dm_control_suite.load(name, config=config))
    return Episodes(env, limit=int(config.episode_length))


class PlaygroundState(NamedTuple):
    """An environment of Playground."""

    env: Any
    timestep: TimeStep


class PlaygroundEnv:
    """`FunctionalEnv` of MuJoCo Playground, without its wrappers.

    Attributes:
        spec: Shapes and sizes of the task.
    """

    spec: EnvSpec

    def __init__(self, env: Any):
        """Take an environment.

        Raises:
            UsageError: If its observations are not possible here.
        """
        self._env = env
        start = jax.eval_shape(env.reset, jr.key(0))
        leaves, _ = jax.tree.flatten_with_path(start.obs)
        places = [
            Place(tuple(key.key for key in path), x.shape, np.dtype(x.dtype)) for path, x in leaves
        ]
        self._arrays = announce(places, None)
        observed = {name: array.spec for name, array in self._arrays.items()}
        self.spec = EnvSpec(observed, int(env.action_size), 1, 0)
        action = jax.ShapeDtypeStruct(self.spec.action.shape, self.spec.action.dtype)
        self._like = jax.eval_shape(env.step, start, action)

    def reset(self, key: PRNGKeyArray) -> PlaygroundState:
        """Start an episode."""
        state, no = self._env.reset(key), jnp.zeros((), bool)
        observed = observe(state.obs, self._arrays)
        timestep = TimeStep(observed, jnp.zeros((), jnp.float32), ~no, no, no)
        return PlaygroundState(cast(state, self._like), timestep)

    def step(self, state: PlaygroundState, action: Float[Array, " action"]) -> PlaygroundState:
        """Take a step."""
        # A copy: their steps change dictionaries of the state in place.
        own = self._env.step(jax.tree.map(lambda x: x, state.env), jnp.clip(action, -1, 1))
        done = own.done > 0
        timestep = TimeStep(
            observation=observe(own.obs, self._arrays),
            reward=own.reward.astype(jnp.float32),
            is_first=jnp.zeros((), bool),
            is_last=done,
            is_terminal=done,
        )
        return PlaygroundState(cast(own, self._like), timestep)
