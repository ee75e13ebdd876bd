"""Microseconds per step that the adapters of others' environments add to them."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from dm_control import suite

from ..config import Config
from ..envs.adapters.adapter import Adapter, Foreign
from ..envs.adapters.dm_env import DmEnv
from ..envs.adapters.gymnasium_env import GymnasiumEnv
from ..envs.timestep import EnvSpec
from .measure import Case, measure
from .report import Figure, Report

# Time steps of a round, of which the mean is taken.
_STEPS = 5000


def benchmark_adapters(config: Config, *, repetitions: int) -> Report:
    """Time steps of environments of Gymnasium and dm_env, by themselves and in our adapter.

    Both take the same actions from the same seed, and so have the same episodes, whose resets
    count as one of their steps.

    Args:
        config: Settings, of which none matters: actions are not repeated.
        repetitions: How often everything is timed, in turn.

    Returns:
        The report, with the microseconds that each adapter adds to a step: the median, over the
        repetitions, of the difference.
    """
    cases = {}
    for name, make in ADAPTED.items():
        alone, adapted = make()
        cases[f"{name}, alone"] = Case(alone, None, calls=_STEPS)
        cases[name] = Case(adapted, None, f"{name}, alone", calls=_STEPS)
    measurements = measure(cases, repetitions=repetitions)
    figures = {}
    for name in ADAPTED:
        added = np.subtract(measurements[name].seconds, measurements[f"{name}, alone"].seconds)
        figures[f"{name}, added"] = Figure(1e6 * float(np.median(added)), "microseconds / step")
    settings = {"steps": _STEPS, "repetitions": repetitions}
    return Report("adapters", settings, measurements, figures)


def _gymnasium(task: str) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Return steps of an environment of Gymnasium alone, and in its adapter."""
    env, own = (gymnasium.make(task, disable_env_checker=True) for _ in range(2))
    adapted, actions = _adapted(GymnasiumEnv(own))
    is_last = True
    seeds = itertools.chain([0], itertools.repeat(None))

    def alone() -> bool:
        nonlocal is_last
        if is_last:
            env.reset(seed=next(seeds))
            is_last = False
        else:
            _, _, terminated, truncated, _ = env.step(next(actions))
            is_last = terminated or truncated
        return is_last

    return alone, adapted


def _dm_control(domain: str, task: str) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Return steps of an environment of dm_env alone, and in its adapter."""
    env, own = (suite.load(domain, task, task_kwargs={"random": 0}) for _ in range(2))
    adapted, actions = _adapted(DmEnv(own))
    is_last = True

    def alone() -> bool:
        nonlocal is_last
        is_last = (env.reset() if is_last else env.step(next(actions))).last()
        return is_last

    return alone, adapted


def _adapted(foreign: Foreign) -> tuple[Callable[[], bool], Iterator[Any]]:
    """Return steps with random actions in the adapter, and these actions as the environment's."""
    adapter = Adapter(foreign, seed=0)
    actions = _random_actions(adapter.spec)
    ours = itertools.cycle(actions)
    is_last = True

    def step() -> bool:
        nonlocal is_last
        is_last = bool((adapter.reset() if is_last else adapter.step(next(ours))).is_last)
        return is_last

    return step, itertools.cycle([foreign.action.convert(action) for action in actions])


def _random_actions(spec: EnvSpec) -> np.ndarray:
    """Return actions as a policy gives them."""
    rng, (shape, dtype, num_actions) = np.random.default_rng(0), spec.action
    if num_actions is not None:
        return rng.integers(num_actions, size=1000, dtype=dtype)
    return rng.uniform(-1, 1, (1000, *shape)).astype(dtype)


ADAPTED: dict[str, Callable[[], tuple[Callable[[], bool], Callable[[], bool]]]] = {
    "Gymnasium, Box": lambda: _gymnasium("Pendulum-v1"),
    "Gymnasium, Discrete": lambda: _gymnasium("CartPole-v1"),
    "dm_env": lambda: _dm_control("cartpole", "balance"),
}
"""Environments by what they stand for; each makes steps of it alone, and in its adapter.

A step returns whether an episode has ended; the next one begins another.
"""
