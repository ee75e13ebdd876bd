"""Schedules of a penalty's coefficient by the number of updates (paper, algorithm 2).

A schedule maps the number n of completed updates to a coefficient. n may be traced. `initial`
is the coefficient at n = 0 and `minimum` the least there is; `updates`, `scale` and `interval`
are positive numbers of updates.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..config import ScheduleConfig
from ..config.train_ratio import TrainRatio

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]


def constant(initial: float) -> Schedule:
    """`initial` at every update."""
    return lambda update: jnp.full((), initial)


def sqrt_decay(initial: float, scale: float = 1000.0, minimum: float = 0.0) -> Schedule:
    """`max(initial / sqrt(1 + n / scale), minimum)`."""
    return lambda update: jnp.maximum(initial / jnp.sqrt(1 + update / scale), minimum)


def linear_decay(initial: float, updates: int, minimum: float = 0.0) -> Schedule:
    """`minimum + (initial - minimum) (1 - x)` with `x = min(n / updates, 1)`."""
    return lambda update: minimum + (initial - minimum) * (1 - _share(update, updates))


def exponential_decay(initial: float, updates: int, minimum: float = 0.0) -> Schedule:
    """`minimum + (initial - minimum) exp(-5 x)` with `x = min(n / updates, 1)`."""
    return lambda update: minimum + (initial - minimum) * jnp.exp(-5 * _share(update, updates))


def cosine_decay(initial: float, updates: int, minimum: float = 0.0) -> Schedule:
    """`minimum + (initial - minimum) (1 + cos(pi x)) / 2`, `x = min(n / updates, 1)`."""
    return lambda update: (
        minimum + (initial - minimum) * 0.5 * (1 + jnp.cos(jnp.pi * _share(update, updates)))
    )


def step_decay(initial: float, factor: float, interval: int, minimum: float = 0.0) -> Schedule:
    """`max(initial * factor ** floor(n / interval), minimum)`."""
    return lambda update: jnp.maximum(initial * factor ** jnp.floor(update / interval), minimum)


def piecewise(
    initial: float,
    boundaries: Sequence[int],
    values: Sequence[float],
    minimum: float = 0.0,
) -> Schedule:
    """`initial`, then `values[j]` from update `boundaries[j]` on; at least `minimum`.

    Args:
        initial: Coefficient before the first boundary.
        boundaries: Rising update counts.
        values: One coefficient for each boundary.
        minimum: Lower bound of every coefficient.

    Raises:
        ValueError: If the two sequences differ in length.
    """
    if len(boundaries) != len(values):
        raise ValueError(
            f"`values` must have one number for each of the {len(boundaries)} "
            f"`boundaries`, got {len(values)}."
        )
    levels = jnp.maximum(jnp.array([initial, *values]), minimum)
    edges = jnp.array(boundaries)
    return lambda update: levels[jnp.sum(update >= edges)]


def delayed(schedule: Schedule, start: int) -> Schedule:
    """0 before update `start`, then `schedule` counted from there."""
    return lambda update: jnp.where(update < start, 0.0, schedule(jnp.maximum(update - start, 0)))


def make_schedule(initial: float, config: ScheduleConfig, ratio: TrainRatio) -> Schedule:
    """Make the schedule that the settings describe.

    The coefficient is 0 in all updates that are made before `config.start` env steps were
    collected, of which there are none before training begins, and `initial` in the first one
    thereafter. From that one on the updates are counted that a decay goes by; its lengths and
    intervals are given in updates.

    Args:
        initial: Coefficient lambda0 at the first update that is not before the start.
        config: Settings.
        ratio: Converts the start, given in env steps, to updates.
    """
    decay, minimum = config.decay, config.minimum
    schedules = {
        "sqrt": lambda: sqrt_decay(initial, config.scale, minimum),
        "none": lambda: constant(initial),
        "linear": lambda: linear_decay(initial, decay, minimum),
        "exponential": lambda: exponential_decay(initial, decay, minimum),
        "cosine": lambda: cosine_decay(initial, decay, minimum),
        "step": lambda: step_decay(initial, config.factor, config.interval, minimum),
        "piecewise": lambda: piecewise(initial, config.boundaries, config.values, minimum),
    }
    schedule = schedules[config.kind]()
    start = ratio.updates_before(config.start)
    return delayed(schedule, start) if start > 0 else schedule


def _share(update: Int[Array, ""] | Float[Array, ""], updates: int):
    return jnp.minimum(update / updates, 1)
