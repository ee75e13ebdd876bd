"""Sequence replay (Hafner et al., 2025, "Experience replay").

Every environment writes one endless stream of steps, in which episode follows episode. An
item is a window of consecutive steps of one stream, which may cross the ends of episodes.
Items are drawn uniformly; besides, each step is used once soon after it was collected
(the online queue). The agent's latent states are stored with the steps, start the
sequences that are sampled, and are refreshed with the ones recomputed in training.
"""

import abc
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from .ring import Arrays, Ring


class Sample(NamedTuple):
    """Windows drawn from replay."""

    steps: dict[str, Shaped[np.ndarray, "batch steps ..."]]
    stream: Int[np.ndarray, " batch"]
    """Stream of each window."""

    start: Int[np.ndarray, " batch"]
    """Position in its stream of each window's first step, counted from the beginning."""


class AbstractReplay(abc.ABC):
    """Uniform replay over all windows of all streams, with an online queue.

    All streams grow together, one step at a time. The oldest windows are dropped once
    there are more than its capacity.

    Attributes:
        ring: The steps that are there.
        window: Steps per window.
    """

    def __init__(self, ring: Ring, window: int):
        """Takes an empty ring, and the number of steps per window."""
        self.ring, self.window = ring, window

    @property
    def num_added(self) -> int:
        """Steps of each stream so far, those that were dropped included."""
        return self.ring.num_added

    @property
    def num_windows(self) -> int:
        """Windows that can be drawn now."""
        return self.ring.num_streams * self._windows_per_stream

    @property
    def nbytes(self) -> int:
        """Bytes of the replay once it is full."""
        return sum(array.nbytes for array in self.ring.arrays.values())

    @property
    def _windows_per_stream(self) -> int:
        return max(0, self.ring.num_added - self.ring.oldest - self.window + 1)

    @abc.abstractmethod
    def add(self, steps: Arrays) -> None:
        """Appends one step to every stream.

        Args:
            steps: Arrays by name, with a leading stream axis.

        Raises:
            ValueError: If names or shapes differ from the specs; nothing is added then.
        """

    @abc.abstractmethod
    def sample(self, batch_size: int, *, context_only: Collection[str] = ()) -> Sample:
        """Draws windows with replacement, those of the online queue first.

        Args:
            batch_size: Number of windows.
            context_only: Names of arrays of which only the context step, the first of each
                window, is read. Latents are most of a step's bytes, and none else is used.

        Returns:
            The windows. An episode that is cut off by the beginning of another counts as
            ended at its last step in the window.

        Raises:
            ValueError: If there is no window yet.
        """

    @abc.abstractmethod
    def refresh(self, sample: Sample, values: Arrays) -> None:
        """Overwrites stored arrays of a sample, the context step excepted.

        Where windows overlap the last one wins; steps that were dropped since are skipped.

        Args:
            sample: Windows that were drawn from this replay.
            values: Mutable arrays by name, of shape `[batch, window - 1, ...]`.

        Raises:
            ValueError: If one of the arrays is not mutable, or has another shape.
        """

    @abc.abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Everything but the steps themselves, as JSON can hold it."""

    @abc.abstractmethod
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` gave, whose steps must be there (`ReplayStore.load`).

        Of more steps than this replay keeps, the oldest are dropped.

        Raises:
            ArithmeticError, LookupError, TypeError, ValueError: If it is something else; the
                replay is as it was then.
        """

    def _check_steps(self, steps: Arrays) -> None:
        arrays = self.ring.arrays
        if steps.keys() != arrays.keys():
            raise ValueError(f"`steps` must have the names {sorted(arrays)}, got {sorted(steps)}.")
        for name, values in steps.items():
            shape = arrays[name].shape
            _check_shape(name, values, (shape[0], *shape[2:]))

    def _check_windows(self) -> None:
        if self.num_windows == 0:
            raise ValueError(
                f"`sample` needs at least {self.window} steps per stream, got {self.num_added}."
            )

    def _check_values(self, sample: Sample, values: Arrays) -> None:
        mutable = self.ring.groups["mutable"]
        if not values.keys() <= set(mutable):
            raise ValueError(f"`values` must be among {list(mutable)}, got {sorted(values)}.")
        batch = (sample.start.size, self.window - 1)
        for name, new in values.items():
            _check_shape(name, new, (*batch, *self.ring.arrays[name].shape[2:]))


def stream_length(num_streams: int, window: int, capacity: int, max_steps: int) -> int:
    """Steps of each stream that a replay keeps: what its windows cover.

    Args:
        num_streams: Number of streams, at least 1.
        window: Steps per window, at least 1.
        capacity: Windows kept, over all streams.
        max_steps: Steps that will be added to each stream at most.

    Raises:
        ValueError: If `num_streams` or `window` is below 1, or `capacity` below one window
            per stream.
    """
    for name, value in {"num_streams": num_streams, "window": window}.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if capacity < num_streams:
        raise ValueError(
            f"`capacity` must hold a window for each of {num_streams} streams, got {capacity}."
        )
    windows = capacity // num_streams
    return max(window, min(max_steps, windows + window - 1))


def _check_shape(name: str, values: Shaped[np.ndarray, "..."], expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise ValueError(f"`{name}` must have shape {expected}, got {values.shape}.")
