"""Many functional environments of one task, each reset after its last time step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, Int8, Key, PRNGKeyArray, Shaped

from ...errors import UsageError
from ..failures import find_spoilt
from ..timestep import EnvSpec, TimeStep
from .env import FunctionalEnv
from .keys import is_key


class AutoResetState(NamedTuple):
    """State of an `AutoReset`; every array leads with the axis of the environments.

    No environment's part depends on those of the others.
    """

    env: Any
    """States of the environments."""

    key: Key[Array, " num_envs"]
    """Random key from which that of the next reset is split."""

    left: Int[Array, " num_envs"]
    """Steps until the episode is cut short, if it does not end by itself."""

    due: Bool[Array, " num_envs"]
    """Environments that the next step resets."""


class Cut(NamedTuple):
    """Episodes that were ended for no reason of the task's, so that they have no score."""

    interrupted: Bool[Array, " num_envs"]
    spoilt: Int8[Array, " num_envs"]
    """Place of the number that is not finite, as `find_spoilt` has it; 0 where there is none."""


class AutoReset:
    """Functional environments stepped together, each reset after its last time step.

    Time steps are those of `VectorEnv`: the first step resets all of them. Later, an
    environment whose previous time step had `is_last` is reset by the step that follows:
    its action is ignored, its reward is 0 and its time step has `is_first`.

    Every reset draws a new initial state. The environments that are due are taken in
    chunks, so that a reset that costs as much as many steps is computed where it is needed
    and hardly anywhere else. All environments are stepped, those that are due as well:
    their result is replaced.

    A time step with a number that is not finite ends its episode: it has the observation
    before it, with 0 in place of what is not finite there, reward 0 and `is_last`.

    Attributes:
        spec: Shapes and sizes of the task.
        num_envs: Number of environments.
    """

    spec: EnvSpec
    num_envs: int

    def __init__(self, env: FunctionalEnv, num_envs: int, *, stagger: bool = False):
        """Wrap an environment.

        Args:
            env: The environment.
            num_envs: How many of it, at least 1.
            stagger: Whether the first episode of each environment is cut short after a
                number of steps drawn from 1 to `spec.episode_steps`. Episodes of tasks
                with a time limit would otherwise end all at once.

        Raises:
            ValueError: If `num_envs < 1`.
            UsageError: If episodes without a time limit are to be staggered.
        """
        if num_envs < 1:
            raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
        if stagger and not env.spec.episode_steps:
            raise UsageError(
                "`env.stagger` must be False for a task without a time limit, which "
                "`--env.episode_steps` sets."
            )
        self.spec, self.num_envs = env.spec, num_envs
        self._env, self._stagger = env, stagger
        # Without a limit, more than any run has.
        self._limit = env.spec.episode_steps or 2**31 - 1
        # Environments that are reset together: any number gives the same results.
        self._chunk_size = max(1, num_envs // 64)

    def init(self, key: PRNGKeyArray) -> AutoResetState:
        """Return the state before the first step, which resets every environment."""
        key, stagger_key = jr.split(key)
        left = jnp.full(self.num_envs, self._limit)
        if self._stagger:
            left = jr.randint(stagger_key, left.shape, 1, left + 1, left.dtype)
        keys = jr.split(key, self.num_envs)
        blank = jax.tree.map(_blank, jax.eval_shape(jax.vmap(self._env.reset), keys))
        return AutoResetState(blank, keys, left, due=jnp.ones(self.num_envs, bool))

    def step(
        self, state: AutoResetState, action: Shaped[Array, "num_envs ..."]
    ) -> tuple[AutoResetState, TimeStep]:
        """Step every environment, and reset those whose last time step had `is_last`."""
        stepped = jax.vmap(self._env.step)(state.env, action)
        env, key = self._reset(stepped, state.key, state.due)
        spoilt = find_spoilt(env.timestep) > 0
        left = jnp.where(state.due, state.left, state.left - 1)
        is_last = env.timestep.is_last | (left == 0) | spoilt
        left = jnp.where(is_last, self._limit, left)
        before = jax.tree.map(_finite, state.env.timestep.observation)
        timestep = TimeStep(
            observation=jax.tree.map(
                lambda old, new: jnp.where(spoilt.reshape(-1, *[1] * (new.ndim - 1)), old, new),
                before,
                env.timestep.observation,
            ),
            reward=jnp.where(spoilt, 0, env.timestep.reward),
            is_first=env.timestep.is_first,
            is_last=is_last,
            is_terminal=env.timestep.is_terminal & ~spoilt,
        )
        return AutoResetState(env, key, left, due=is_last), timestep

    def cut(self, state: AutoResetState) -> Cut:
        """Return the episodes that the last step has ended for no reason of the task's."""
        spoilt = find_spoilt(state.env.timestep)
        return Cut(state.due & ~state.env.timestep.is_last | (spoilt > 0), spoilt)

    def _reset(
        self, env: Any, key: Key[Array, " num_envs"], due: Bool[Array, " num_envs"]
    ) -> tuple[Any, Key[Array, " num_envs"]]:
        """Replace the states of the environments that are due, and use up their keys."""

        def reset_chunk(carry):
            env, key, due = carry
            # What is too many is the index of no environment: read as the last, never written.
            (index,) = jnp.nonzero(due, size=self._chunk_size, fill_value=self.num_envs)
            next_key, reset_key = jax.vmap(jr.split, out_axes=1)(key[index])
            fresh = jax.vmap(self._env.reset)(reset_key)

            def put(old, new):
                return old.at[index].set(new, mode="drop")

            env, key = jax.tree.map(put, (env, key), (fresh, next_key))
            return env, key, due.at[index].set(False, mode="drop")

        env, key, _ = jax.lax.while_loop(lambda c: jnp.any(c[2]), reset_chunk, (env, key, due))
        return env, key


def _finite(array: Array) -> Array:
    """Replace what is not finite by 0."""
    return jnp.where(jnp.isfinite(array), array, 0)


def _blank(leaf: jax.ShapeDtypeStruct) -> Array:
    """Return an array for a state before the first reset, which overwrites it."""
    if is_key(leaf):
        return jnp.broadcast_to(jr.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
