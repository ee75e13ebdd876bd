"""Programs of a run for a described card, with the shapes of what they take."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ... import agent
from ...config import Config
from ...envs import IMAGE, TimeStep, make_functional_env
from ...envs.mjx import MJXEnv
from ...parallel.devices import Placement
from ...parallel.seeds import SeedAxis
from ...replay import DeviceReplay, functional
from ...training.device.program import DeviceProgram
from ...training.device.state import Keys, ProgramClock, Request
from ...training.device.trainer import MAX_STEPS
from ...training.experience import make_replay
from ...training.programs import initial_policy_state, make_programs
from ..update import ACTION_SIZE, observation_shapes, random_batch

ProgramName = Literal["update", "act", "report", "evaluate", "device", "simulate"]


def described_program(
    name: ProgramName, config: Config, mesh: Mesh
) -> tuple[jax.stages.Wrapped, tuple[PyTree, ...]]:
    """Make a program of a run, and describe its arguments.

    Args:
        name: update, act and report are those of the loop on the host. evaluate acts in an
            evaluation. device is the program of the loop on the device. simulate takes one
            control step in all environments, on MJX, with no resets.
        config: Settings.
        mesh: Cards. With several, one agent trains on a part of each batch on every card, and
            of several agents every card has some.

    Returns:
        What `jax.jit` made, and shapes with their shardings.
    """
    if name == "simulate":
        env = MJXEnv(config.task, action_repeat=1, impl=config.env.mjx_impl)
        return _simulation(env, config.env.num_envs, NamedSharding(mesh, PartitionSpec()))
    spread = NamedSharding(mesh, PartitionSpec("devices"))
    whole = NamedSharding(mesh, PartitionSpec())
    if mesh.size == 1:
        placement, agents, batches = Placement(), whole, whole
    elif config.seeds == 1:
        placement, agents, batches = Placement(whole, spread), whole, spread
    else:
        placement, agents, batches = Placement(spread, spread, spread), spread, spread
    seeds = SeedAxis(config.seeds, placement)
    if name == "device":
        program, args = _device_program(config, seeds)
        return program, _placed(args, whole)
    state = _stacked(
        agent.abstract_state(config, observation_shapes(config), ACTION_SIZE), config.seeds
    )
    key = _stacked(jax.eval_shape(lambda: jr.key(0)), config.seeds)
    if name == "evaluate":
        envs = min(config.evaluation.num_envs, config.evaluation.episodes)
        acting = (state.model, *_acting(config, state.model, envs, seeds), key)
        return jax.jit(_act_in_evaluations), _placed(acting, whole)
    programs = make_programs(config, seeds)
    if name == "act":
        acting = _acting(config, state.model, config.env.num_envs, seeds)
        env_step = jax.ShapeDtypeStruct((), jnp.uint32)
        model, acting, key = (_placed(tree, agents) for tree in (state.model, acting, key))
        return programs.act, (model, *acting, _placed(env_step, whole), key)
    batch = _stacked(jax.eval_shape(lambda: random_batch(config)), config.seeds)
    args = (_placed(state, agents), _placed(batch, batches), _placed(key, agents))
    return {"update": programs.update, "report": programs.report}[name], args


def _act_in_evaluations(model, policy_state, step, key):
    return agent.act(model, policy_state, step.observation, step.is_first, step.is_last, key=key)


def _acting(config: Config, model: PyTree, num_envs: int, seeds: SeedAxis) -> tuple[PyTree, ...]:
    """Describe the policy's state and a time step of all environments."""
    policy_state = jax.eval_shape(lambda model: initial_policy_state(seeds, model, num_envs), model)

    def described(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((num_envs, *shape), dtype)

    observation = {
        name: described(shape, np.uint8 if name == IMAGE else np.float32)
        for name, shape in observation_shapes(config).items()
    }
    flag = described((), bool)
    step = TimeStep(observation, described((), np.float32), flag, flag, flag)
    return policy_state, _stacked(step, seeds.size)


def _device_program(config: Config, seeds: SeedAxis) -> tuple[jax.stages.Wrapped, PyTree]:
    env = make_functional_env(
        config.task,
        num_envs=config.env.num_envs,
        action_repeat=config.action_repeat,
        num_copies=seeds.size,
    )
    replay = make_replay(config, env.spec, None)
    assert isinstance(replay, DeviceReplay)
    program = DeviceProgram(config, seeds, env, replay.layout, max_steps=MAX_STEPS)

    def begin() -> PyTree:
        state = agent.init(config, **env.spec.sizes, key=jr.key(0))
        return program.begin(seeds.stack([state] * seeds.size), [jr.key(0)] * seeds.size)

    training = eqx.filter_eval_shape(begin)
    keys = jax.eval_shape(lambda: Keys(*(seeds.stack([jr.key(0)] * seeds.size) for _ in range(3))))
    steps = _stacked(
        {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in replay.ring.arrays.items()},
        seeds.size,
    )
    clock = ProgramClock(jnp.uint32(0), jnp.int32(0), functional.initial())
    request = Request(jnp.int32(0), jnp.zeros(MAX_STEPS + 1, jnp.int32), jnp.int32(0))
    sums = [program.metrics(training, keys)] * seeds.size
    return program.advance, (steps, training, sums, clock, keys, request)


def _simulation(
    env: MJXEnv, num_envs: int, placement: NamedSharding
) -> tuple[jax.stages.Wrapped, PyTree]:
    keys = jax.eval_shape(lambda: jr.split(jr.key(0), num_envs))
    state = jax.eval_shape(jax.vmap(env.reset), keys)
    action = jax.ShapeDtypeStruct((num_envs, env.spec.action_size), jnp.float32)
    return jax.jit(jax.vmap(env.step)), _placed((state, action), placement)


def _stacked(tree: PyTree, size: int) -> PyTree:
    """Add the axis of several seeds to shapes."""
    if size == 1:
        return tree
    return _map_shapes(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), tree)


def _placed(tree: PyTree, sharding: NamedSharding) -> PyTree:
    return _map_shapes(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _map_shapes(fn: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Apply a function to all shapes and arrays of a tree, and to nothing else of it."""
    return jax.tree.map(lambda x: fn(x) if hasattr(x, "dtype") else x, tree)
