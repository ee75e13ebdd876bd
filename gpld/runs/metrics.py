"""Means of metrics that stay on the device, times of the loop's parts, and episodes."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..envs import TimeStep

Sums = dict[str, tuple[Float[Array, ""], Int[Array, ""]]]
"""Sum and number of the finite values of each metric."""


class MeanMetrics:
    """Means of scalars over updates, taken without waiting for the device.

    Values that are not finite are left out, so that an update that was skipped because of
    them does not hide what the others did.
    """

    sums: Sums
    """Of what was added since the last `pop`; empty if nothing was."""

    def __init__(self):
        self.sums = {}

    def add(self, metrics: dict[str, Float[Array, ""]]) -> None:
        """Adds the metrics of one update, of the same names each time."""
        self.sums = _add(self.sums or zero_sums(metrics), metrics)

    def pop(self) -> dict[str, float]:
        """Means since the last call; empty if nothing was added, NaN if nothing was finite."""
        sums, self.sums = jax.device_get(self.sums), {}
        return {
            name: float(value) / int(count) if count else math.nan
            for name, (value, count) in sums.items()
        }

    def get_state(self) -> dict[str, np.ndarray]:
        """Return the sums so far."""
        names = sorted(self.sums)
        sums = jax.device_get([self.sums[name] for name in names])
        return {name: np.array(pair, np.float32) for name, pair in zip(names, sums, strict=True)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from the result of `get_state`."""
        self.sums = {name: (jnp.float32(x), jnp.int32(n)) for name, (x, n) in state.items()}


def zero_sums(names: Iterable[str]) -> Sums:
    """Return zero sums for metrics of these names."""
    return {name: (jnp.float32(0), jnp.int32(0)) for name in names}


def add_metrics(sums: Sums, metrics: dict[str, Float[Array, ""]]) -> Sums:
    """Add the metrics of one more update to sums."""

    def add(value, total):
        finite = jnp.isfinite(value)
        # Float32 whatever JAX's default is: a checkpoint keeps the sums as such.
        summed = total[0] + jnp.where(finite, value, 0).astype(total[0].dtype)
        return summed, total[1] + finite

    return {name: add(value, sums[name]) for name, value in metrics.items()}


_add = jax.jit(add_metrics)


class Stopwatch:
    """Seconds spent in named parts of the loop."""

    def __init__(self):
        self._seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time of a `with` block towards a part, and name it in traces."""
        began = time.perf_counter()
        try:
            with jax.profiler.TraceAnnotation(part):
                yield
        finally:
            elapsed = time.perf_counter() - began
            self._seconds[part] = self._seconds.get(part, 0.0) + elapsed

    def read(self) -> tuple[float, dict[str, float]]:
        """Return the seconds since the last reset, and those of each part."""
        return time.perf_counter() - self._began, dict(self._seconds)

    def reset(self) -> None:
        """Starts anew."""
        self._began, self._seconds = time.perf_counter(), {}

    def get_state(self) -> dict[str, Any]:
        """Return the result of `read` in a form for JSON."""
        elapsed, seconds = self.read()
        return {"elapsed": elapsed, "seconds": seconds}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from the result of `get_state`; time counted here before is added."""
        self._began -= state["elapsed"]
        for part, seconds in state["seconds"].items():
            self._seconds[part] = self._seconds.get(part, 0.0) + seconds


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

    def add(
        self, step: TimeStep, interrupted: Bool[np.ndarray, " env"] | None = None
    ) -> list[EpisodeEnd]:
        """Takes in one time step of every environment.

        Args:
            step: The time step.
            interrupted: Where an episode ends for no reason of the task's; it has no score.

        Returns:
            The episodes that ended with it.
        """
        # f64: the sum of a thousand f32 rewards is reported to the digit.
        self._score = np.where(step.is_first, 0.0, self._score) + step.reward
        self._length = np.where(step.is_first, 0, self._length) + 1
        ended = step.is_last if interrupted is None else step.is_last & ~interrupted
        return [
            EpisodeEnd(int(i), float(self._score[i]), int(self._length[i]))
            for i in np.flatnonzero(ended)
        ]

    def get_state(self) -> dict[str, np.ndarray]:
        """Return the episodes that have not ended."""
        return {"score": self._score, "length": self._length}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from the result of `get_state`."""
        self._score, self._length = state["score"], state["length"]
