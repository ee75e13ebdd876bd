"""Compiled programs of a run: act, update and report, for all of its agents at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .. import agent
from ..agent import AgentState, PolicyState
from ..config import Config
from ..envs import EnvSpec
from ..models import Dreamer
from ..parallel.devices import put
from ..parallel.seeds import SeedAxis


class Programs(NamedTuple):
    """Compiled functions of the training loop, each of which compiles only once.

    To be called with the same keys throughout: they are mixed with env step or update count.
    """

    act: jax.stages.Wrapped
    """`act(model, policy_state, step, env_step, key)`: the new policy state, and the
    latent states of each agent."""

    update: jax.stages.Wrapped
    """`update(state, batch, key)`: the new state, and the latent states and metrics of each
    agent."""

    report: jax.stages.Wrapped
    """`report(state, batch, key)`: the diagnostics of each agent."""


def make_programs(config: Config, seeds: SeedAxis) -> Programs:
    """Make the programs of a run; they compile when they are first called.

    Args:
        config: Settings.
        seeds: The axis along which agents are stacked.
    """

    def act_one(model, policy_state, step, env_step, key):
        key = jr.fold_in(key, env_step)
        return agent.act(
            model, policy_state, step.observation, step.is_first, step.is_last, key=key
        )

    def update_one(state, batch, key):
        key = jr.fold_in(key, state.update)
        return agent.update(state, batch, config=config, key=key)

    def report_one(state, batch, key):
        key = jr.fold_in(key, state.update)
        return agent.report(state, batch, config=config, key=key)

    @_jit
    def act(model, policy_state, step, env_step, key):
        act_all = seeds.vmap(act_one, shared=[3])
        policy_state, latents = act_all(model, policy_state, step, env_step, key)
        return seeds.put_acting(policy_state), seeds.unstack(latents)

    @_jit
    def update(state, batch, key):
        state, latents, metrics = seeds.vmap(update_one)(state, batch, key)
        latents = seeds.unstack(put(latents, seeds.placement.batches))
        return seeds.put(state), latents, seeds.unstack(metrics)

    @_jit
    def report(state, batch, key):
        return seeds.unstack(seeds.vmap(report_one)(state, batch, key))

    return Programs(act, update, report)


def init_agents(config: Config, spec: EnvSpec, *, keys: Sequence[PRNGKeyArray]) -> list[AgentState]:
    """Initialise one agent per key, each as one that is trained alone.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        keys: Random keys.

    Raises:
        ValueError: If an observation is neither a vector nor an image.
    """
    for name, array in spec.observation.items():
        if len(array.shape) == 3 and array.num_classes is None and array.dtype != np.uint8:
            raise ValueError(
                f"Observation `{name}` has three axes: an image must be uint8, got {array.dtype}."
            )
    # One compiled program: drawing each kernel by itself takes longer to compile.
    init = eqx.filter_jit(agent.init)
    return [init(config, **spec.sizes, key=key) for key in keys]


def initial_policy_state(seeds: SeedAxis, model: Dreamer, num_envs: int) -> PolicyState:
    """Return what the policies carry before their first env step, stacked."""
    initial = seeds.vmap(lambda model: agent.initial_policy_state(model, num_envs))
    return seeds.put_acting(initial(model))


def _jit(fn: Callable[..., Any]) -> jax.stages.Wrapped:
    """Compile a function of arrays that is traced at most once, without waiting for the device.

    `equinox.filter_jit` would wait.
    """
    traced = eqx.debug.assert_max_traces(fn, max_traces=1)

    @functools.wraps(fn)  # messages name it
    def program(*args):
        return traced(*args)

    return jax.jit(program)
