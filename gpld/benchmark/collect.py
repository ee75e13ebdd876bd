"""Cost of experience: a step of all environments, and of the policy in them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import agent
from ..config import Config
from ..envs import VectorEnv
from ..training.source import make_envs
from .choices import describe
from .measure import Case, measure
from .report import Figure, Report

# Steps in a row, of which the mean is taken.
ENV_STEPS, POLICY_STEPS = 100, 20


def benchmark_collect(config: Config, *, repetitions: int) -> Report:
    """Times a step of all environments with random actions, and the compiled policy.

    Args:
        config: Settings: the task, the number of environments and their workers.
        repetitions: How often both are timed.

    Returns:
        The report, with env steps per second of each by itself.
    """
    with make_envs(config) as envs:
        cases = {"environments": _stepping(envs), "policy": _acting(config, envs)}
        measurements = measure(cases, repetitions=repetitions)
    settings = describe(config) | {
        "task": config.task,
        "num_envs": envs.num_envs,
        "action_repeat": config.action_repeat,
        "workers": config.env.workers,
        "repetitions": repetitions,
    }
    rates = {name: envs.num_envs / measurements[name].median_seconds for name in cases}
    figures = {f"{name} alone": Figure(rate, "env steps / s") for name, rate in rates.items()}
    return Report("collect", settings, measurements, figures)


def _stepping(envs: VectorEnv) -> Case:
    rng = np.random.default_rng(0)
    action = envs.spec.action
    shape = (envs.num_envs, *action.shape)

    def step() -> None:
        if action.num_classes is not None:
            envs.step(rng.integers(action.num_classes, size=shape, dtype=np.int32))
        else:
            envs.step(rng.uniform(-1, 1, shape).astype(np.float32))

    return Case(step, None, calls=ENV_STEPS)


def _acting(config: Config, envs: VectorEnv) -> Case:
    spec, flags = envs.spec, jnp.zeros(envs.num_envs, bool)
    init = jax.jit(lambda key: agent.init(config, **spec.sizes, key=key).model)
    model = init(jr.key(0))
    observation = {
        name: jnp.ones((envs.num_envs, *array.shape), array.dtype)
        for name, array in spec.observation.items()
    }
    policy_state = agent.initial_policy_state(model, envs.num_envs)

    def act(model, policy_state, observation, is_first, is_last, key):
        return agent.act(model, policy_state, observation, is_first, is_last, key=key)

    return Case(
        act, (model, policy_state, observation, flags, flags, jr.key(1)), calls=POLICY_STEPS
    )
