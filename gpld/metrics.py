"""Means of metrics that stay on the device, and where the time goes."""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from .envs import TimeStep


class MeanMetrics:
    """Adds up dictionaries of scalars without waiting for the device."""

    def __init__(self):
        self._total: dict[str, Float[Array, ""]] | None = None
        self._count = 0

    def add(self, metrics: dict[str, Float[Array, ""]]) -> None:
        """Adds the metrics of one update."""
        self._total = metrics if self._total is None else _add(self._total, metrics)
        self._count += 1

    def pop(self) -> dict[str, float]:
        """Means since the last call; empty if nothing was added."""
        total, count = self._total, self._count
        self._total, self._count = None, 0
        if total is None:
            return {}
        return {name: float(value) / count for name, value in jax.device_get(total).items()}


@jax.jit
def _add(total: dict[str, Array], metrics: dict[str, Array]) -> dict[str, Array]:
    return jax.tree.map(lambda x, y: x + y, total, metrics)


class Stopwatch:
    """Seconds spent in named parts of the loop."""

    def __init__(self):
        self._seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Counts the time of a `with` block towards a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - began
            self._seconds[part] = self._seconds.get(part, 0.0) + elapsed

    def read(self) -> tuple[float, dict[str, float]]:
        """Seconds since the last reset, and those of each part."""
        return time.perf_counter() - self._began, dict(self._seconds)

    def reset(self) -> None:
        """Starts anew."""
        self._began, self._seconds = time.perf_counter(), {}


class EpisodeEnd(NamedTuple):
    """A training episode that has ended."""

    env: int
    score: float
    """Sum of the rewards, undiscounted."""

    length: int
    """Env steps, the reset included."""


class EpisodeTracker:
    """Sums the rewards of the episodes that several environments are in."""

    def __init__(self, num_envs: int):
        self._score = np.zeros(num_envs)
        self._length = np.zeros(num_envs, int)

    def add(self, step: TimeStep) -> list[EpisodeEnd]:
        """Takes in one time step of every environment.

        Returns:
            The episodes that ended with it.
        """
        # f64: the sum of a thousand f32 rewards is reported to the digit.
        self._score = np.where(step.is_first, 0.0, self._score) + step.reward
        self._length = np.where(step.is_first, 0, self._length) + 1
        return [
            EpisodeEnd(int(i), float(self._score[i]), int(self._length[i]))
            for i in np.flatnonzero(step.is_last)
        ]
