"""The agents of one or several seeds, in the same programs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from .. import agent
from ..agent import AgentState, PolicyState
from ..config import Config
from ..envs import EnvSpec
from .devices import OneDevice, Placement, local, shard_of


class Population:
    """How agents, and what they act and learn on, go through one program.

    What belongs to several agents is stacked along a first axis. What belongs to one is left
    as it is, so that its programs are those of the agent alone.
    """

    def __init__(self, size: int = 1, placement: Placement | None = None):
        """Remembers how many agents there are, and where.

        Args:
            size: Number of agents.
            placement: Their devices; None is the default device.
        """
        self.size = size
        self.placement = placement or OneDevice()

    def stack(self, trees: Sequence[PyTree]) -> PyTree:
        """Joins what belongs to the agents, one tree for each."""
        if self.size == 1:
            return trees[0]
        return jax.tree.map(lambda *leaves: _stack(leaves), *trees)

    def unstack(self, tree: PyTree) -> list[PyTree]:
        """What belongs to each of the agents, in a program or of host arrays."""
        if self.size == 1:
            return [tree]
        leaves, structure = jax.tree.flatten(tree)
        return [structure.unflatten(x[i] for x in leaves) for i in range(self.size)]

    def member(self, tree: PyTree, index: int) -> PyTree:
        """What belongs to one of the agents, of arrays on the devices."""
        if self.size == 1:
            return local(tree)
        part, index = shard_of(tree, index)
        return _select(part, jnp.asarray(index))

    def vmap(self, fn: Callable, *, shared: Sequence[int] = ()) -> Callable:
        """A function of what belongs to one agent as one of what belongs to all.

        Args:
            fn: The function.
            shared: Numbers of those arguments that are the same for all agents.
        """
        if self.size == 1:
            return fn

        def mapped(*args):
            axes = tuple(None if i in shared else eqx.if_array(0) for i in range(len(args)))
            return eqx.filter_vmap(fn, in_axes=axes)(*args)

        return mapped

    def initial_memory(self, model: PyTree, num_envs: int) -> PolicyState:
        """What the agents remember before their first env step."""
        initial = self.vmap(lambda model: agent.initial_policy_state(model, num_envs))
        return self.placement.seen(initial(model))


def init_agents(config: Config, spec: EnvSpec, *, keys: Sequence[PRNGKeyArray]) -> list[AgentState]:
    """New agents, each as one that is alone.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        keys: Random key of each.

    Raises:
        ValueError: If an observation is neither a vector nor an image.
    """
    for name, array in spec.observation.items():
        if len(array.shape) == 3 and array.dtype != np.uint8:
            raise ValueError(
                f"Observation `{name}` has three axes: an image must be uint8, got {array.dtype}."
            )
    shapes = {name: array.shape for name, array in spec.observation.items()}
    # One compiled program: drawing each kernel by itself takes longer to compile.
    init = eqx.filter_jit(agent.init)
    return [init(config, shapes, spec.action_size, key=key) for key in keys]


class Programs(NamedTuple):
    """The compiled functions of the loop, each of which may compile only once.

    To be called with the same keys throughout: they are mixed with env step or update count.
    """

    act: Callable[..., Any]
    """`act(model, memory, step, env_step, key)`: the new memory, and the latent states of
    each agent."""

    update: Callable[..., Any]
    """`update(state, batch, key)`: the new state, and the latent states and metrics of each
    agent."""

    report: Callable[..., Any]
    """`report(state, batch, key)`: the diagnostics of each agent."""


def compiled(config: Config, population: Population) -> Programs:
    """The programs of a population.

    Args:
        config: Settings.
        population: Its size and its devices.
    """
    placement = population.placement

    def act_one(model, memory, step, env_step, key):
        key = jr.fold_in(key, env_step)
        return agent.act(model, memory, step.observation, step.is_first, step.is_last, key=key)

    def update_one(state, batch, key):
        key = jr.fold_in(key, state.update)
        return agent.update(state, batch, config=config, key=key)

    def report_one(state, batch, key):
        key = jr.fold_in(key, state.update)
        return agent.report(state, batch, config=config, key=key)

    @_jit
    def act(model, memory, step, env_step, key):
        act_all = population.vmap(act_one, shared=[3])
        memory, latents = act_all(model, memory, step, env_step, key)
        return placement.seen(memory), population.unstack(latents)

    @_jit
    def update(state, batch, key):
        state, latents, metrics = population.vmap(update_one)(state, batch, key)
        latents = population.unstack(placement.latents(latents))
        return placement.agents(state), latents, population.unstack(metrics)

    @_jit
    def report(state, batch, key):
        return population.unstack(population.vmap(report_one)(state, batch, key))

    return Programs(act, update, report)


def _jit(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function of arrays, traced once at most, that does not wait for the device.

    `equinox.filter_jit` would.
    """
    traced = eqx.debug.assert_max_traces(fn, max_traces=1)

    @functools.wraps(fn)  # messages name it
    def program(*args):
        return traced(*args)

    return jax.jit(program)


def _stack(leaves: Sequence[Any]) -> Any:
    if isinstance(leaves[0], np.ndarray):
        return np.stack(leaves)
    return jnp.stack(leaves)


@jax.jit
def _select(tree: PyTree, index: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda x: x[index], tree)
