"""Sequence replay (Hafner et al., 2025, "Experience replay").

Every environment writes one endless stream of steps, in which episode follows episode. An
item is a window of consecutive steps of one stream, which may cross the ends of episodes.
Items are drawn uniformly; besides, each step is used once soon after it was collected
(the online queue). The agent's latent states are stored with the steps, start the
sequences that are sampled, and are refreshed with the ones recomputed in training.
"""

import abc
from collections.abc import Mapping
from typing import Any

from .ring import Ring


class AbstractReplay(abc.ABC):
    """State that replays on the host and the device share, in the form that is saved.

    All streams grow together, one step at a time. The oldest windows are dropped once
    there are more than its capacity.

    Attributes:
        ring: The steps that are there.
        window: Steps per window.
    """

    def __init__(self, ring: Ring, window: int):
        """Take an empty ring, and the number of steps per window."""
        self.ring, self.window = ring, window

    @property
    def num_added(self) -> int:
        """Steps of each stream so far, those that were dropped included."""
        return self.ring.num_added

    @property
    def nbytes(self) -> int:
        """Bytes of the replay once it is full."""
        return sum(array.nbytes for array in self.ring.arrays.values())

    @abc.abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Return everything but the steps themselves, as JSON can hold it."""

    @abc.abstractmethod
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` gave, whose steps must be there (`ReplayStore.load`).

        Of more steps than this replay keeps, the oldest are dropped.

        Raises:
            ArithmeticError, LookupError, TypeError, ValueError: If it is something else; the
                replay is as it was then.
        """


def stream_length(num_streams: int, window: int, capacity: int, max_steps: int) -> int:
    """Return the steps of each stream that a replay keeps, which its windows cover.

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
