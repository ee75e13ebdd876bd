"""Microseconds per step that the adapters of others' environments add to them."""

import itertools
import time
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
from .measure import measure, progress
from .report import Figure, Measurement, Report

# Steps of a round.
_STEPS = 3000


def benchmark_adapters(config: Config, *, repetitions: int) -> Report:
    """Time steps of environments of Gymnasium and dm_env, by themselves and in our adapter.

    Both take the same actions from the same seed, and so have the same episodes. Every step is
    timed by itself, and a round counts as its median: what else the machine does interrupts few of
    them, but for long.

    Args:
        config: Settings, of which none matters: actions are not repeated.
        repetitions: How often everything is timed, in turn.

    Returns:
        The report, with the microseconds that each adapter adds to a step: the median, over the
        repetitions, of the difference.
    """
    measurements, figures = measure({}, repetitions=repetitions), {}
    for name, make in ADAPTED.items():
        progress(name)
        steps = make()
        rounds = [[_median_seconds(step) for step in steps] for _ in range(repetitions + 1)]
        alone, adapted = np.transpose(rounds[1:])  # one is to warm up
        measurements[f"{name}, alone"] = Measurement(alone.tolist())
        measurements[name] = Measurement(adapted.tolist(), f"{name}, alone")
        added = 1e6 * float(np.median(adapted - alone))
        figures[f"{name}, added"] = Figure(added, "microseconds / step")
    settings = {"steps": _STEPS, "repetitions": repetitions}
    return Report("adapters", settings, measurements, figures)


def _median_seconds(step: Callable[[], bool]) -> float:
    """Return the median time of some steps; resets are too few to count."""
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


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
