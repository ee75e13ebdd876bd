"""Control steps per second of the engines, and how long MJX compiles."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.random as jr
import numpy as np

from ..config import Config
from ..envs import Backend, canonical_name, make_vector_env
from ..envs.rewards import COVERED
from ..errors import UsageError
from ..xla import flags
from .measure import Case, mean_seconds, measure, progress
from .report import UNIT, Figure, Measurement, Report

# Env steps of one round of a batch: the mean is taken over as many as take about a second.
_ROUND_SECONDS = 1.0
# A batch is left out when one step of the next smaller one takes longer.
_SLOWEST_STEP = 5.0


class Engine(NamedTuple):
    """Environments that are ready to be stepped."""

    size: int
    """How many."""

    step: Callable[[], Any]
    compile_seconds: float | None = None


def benchmark_env(
    config: Config, *, tasks: Sequence[str], batch_sizes: Sequence[int], repetitions: int
) -> Report:
    """Times steps of all engines with random actions, resets left aside.

    Args:
        config: Settings: the action repeat, and `env.mjx_impl`.
        tasks: Tasks that all engines have.
        batch_sizes: Numbers of environments that MJX steps together. The engines of the
            processor have as many as the settings say.
        repetitions: How often everything is timed, in turn.

    Returns:
        The report, with control steps per second by task, engine and number of environments,
        and seconds of compilation.

    Raises:
        UsageError: If a task is not covered.
    """
    for task in tasks:
        if canonical_name(task) not in COVERED:
            raise UsageError(f"`tasks` must be covered by all engines, got {task}.")
    measurements, figures = {UNIT: Measurement([])}, {}
    for task in tasks:
        engines = _engines(config, task, batch_sizes)
        cases = {name: _case(engine.step, f"{task}, dmc") for name, engine in engines.items()}
        measured = measure(cases, repetitions=repetitions)
        measurements[UNIT].seconds.extend(measured[UNIT].seconds)
        for name, engine in engines.items():
            own = measured[name]._replace(compile_seconds=engine.compile_seconds)
            rate = engine.size * config.action_repeat / own.median_seconds
            measurements[name] = own
            figures[name] = Figure(rate, "control steps / s")
    settings = {
        "tasks": list(tasks),
        "batch_sizes": list(batch_sizes),
        "action_repeat": config.action_repeat,
        "num_envs": config.env.num_envs,
        "mjx_impl": config.env.mjx_impl,
        "repetitions": repetitions,
    }
    return Report("env", settings, measurements, figures)


def mjx_engine(config: Config, task: str, size: int) -> Engine:
    """Make environments on the device, and compile a step of all of them.

    Args:
        config: Settings: the action repeat, and `env.mjx_impl`.
        task: One of the tasks that MJX has.
        size: How many environments.
    """
    from ..envs.mjx import MJXEnv

    began = time.perf_counter()
    repeat, impl = config.action_repeat, config.env.mjx_impl
    env = MJXEnv(task, action_repeat=repeat, impl=impl, max_envs=size)
    options = flags.simulation_options()
    reset = jax.jit(jax.vmap(env.reset), compiler_options=options)
    state = reset(jr.split(jr.key(0), size))

    def step(state, key):
        key, action_key = jr.split(key)
        action = jr.uniform(action_key, (size, env.spec.action_size), minval=-1)
        return jax.vmap(env.step)(state, action), key

    stepped = jax.jit(step, donate_argnums=0, compiler_options=options)
    compiled = stepped.lower(state, jr.key(1)).compile()
    carry = compiled(state, jr.key(1))

    def run() -> None:
        nonlocal carry
        carry = jax.block_until_ready(compiled(*carry))

    return Engine(size, run, time.perf_counter() - began)


def _engines(config: Config, task: str, batch_sizes: Sequence[int]) -> dict[str, Engine]:
    """The engines of one task by name, MJX's as long as its batches are not too slow."""
    backends: tuple[Backend, ...] = ("dmc", "batch")
    engines = {f"{task}, {backend}": _host(config, task, backend) for backend in backends}
    for size in sorted(batch_sizes):
        name = f"{task}, mjx x {size}"
        progress(f"compiling {name}")
        engines[name] = mjx_engine(config, task, size)
        if mean_seconds(engines[name].step) > _SLOWEST_STEP:
            break
    return engines


def _case(step: Callable[[], Any], baseline: str) -> Case:
    return Case(step, None, baseline, max(1, int(_ROUND_SECONDS / mean_seconds(step))))


def _host(config: Config, task: str, backend: Backend) -> Engine:
    """Environments of the processor, in this process and on one thread."""
    num_envs, repeat = config.env.num_envs, config.action_repeat
    envs = make_vector_env(task, num_envs=num_envs, seed=0, action_repeat=repeat, backend=backend)
    rng = np.random.default_rng(0)
    shape = (64, num_envs, envs.spec.action_size)
    actions = itertools.cycle(rng.uniform(-1, 1, shape).astype(np.float32))

    def step() -> None:
        envs.step(next(actions))

    step()
    return Engine(num_envs, step)
