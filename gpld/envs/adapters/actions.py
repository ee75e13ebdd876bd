"""Actions of ours in the form that environments of others take them in."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

from ...errors import UsageError


class Discrete(NamedTuple):
    """Actions that are one of several integers in a row."""

    size: int
    start: int = 0
    """The lowest of them."""

    discrete = True

    def convert(self, action: Any) -> np.int64:
        """Return their integer of ours: a number of whatever type, or an array of one number.

        Raises:
            ValueError: If there is no such action.
        """
        array = np.asarray(action)
        if array.size != 1 or array.dtype.kind not in "iu" or not 0 <= array.item() < self.size:
            raise ValueError(f"`action` must be an integer in [0, {self.size}), got {action}.")
        return np.int64(array.item() + self.start)


class Continuous:
    """Actions between bounds, each entry with its own.

    Attributes:
        size: Number of entries.
        low: Lowest value of each.
        high: Highest value of each.
        shape: Axes of an action of theirs.
        dtype: Its dtype.
    """

    discrete = False
    size: int
    low: Float64[np.ndarray, "..."]
    high: Float64[np.ndarray, "..."]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __init__(self, low: Any, high: Any, shape: tuple[int, ...], dtype: np.dtype, *, space: str):
        """Take over the bounds.

        Args:
            low: Lowest values, or one for all.
            high: Highest values, or one for all.
            shape: Axes of an action.
            dtype: Its dtype; integers and booleans are rounded to.
            space: What errors call the space.

        Raises:
            UsageError: If a bound is infinite, or actions are empty.
        """
        self.low = np.broadcast_to(np.asarray(low, np.float64), shape)
        self.high = np.broadcast_to(np.asarray(high, np.float64), shape)
        self.shape, self.dtype = shape, dtype
        self.size = int(np.prod(shape))
        if self.size == 0:
            raise UsageError(f"Actions must have at least one number, but the space is {space}.")
        # Between the largest numbers of float32 lies nothing that an action of theirs could mean.
        largest = np.finfo(np.float32).max
        finite = (self.low > -largest).all() and (self.high < largest).all()
        if not finite or (self.low > self.high).any():
            raise UsageError(
                f"Actions must have finite bounds, but the space is {space}; wrap the environment "
                "so that it takes actions within some, as gymnasium.wrappers.RescaleAction and "
                "ClipAction do."
            )
        self._middle, self._half = (self.low + self.high) / 2, (self.high - self.low) / 2

    def convert(self, action: Any) -> Shaped[np.ndarray, "..."]:
        """Scale each entry from [-1, 1], to which it is clipped, to its bounds.

        Raises:
            ValueError: If entries are missing or not finite.
        """
        array = np.asarray(action, np.float64)
        if array.shape != (self.size,) or not np.isfinite(array).all():
            raise ValueError(f"`action` must be {self.size} finite numbers, got {action}.")
        # Minima and maxima take half the time of `np.clip`.
        scaled = self._middle + self._half * array.reshape(self.shape)
        scaled = np.minimum(np.maximum(scaled, self.low), self.high)
        rounded = np.rint(scaled) if self.dtype.kind in "biu" else scaled
        return np.asarray(rounded, self.dtype)
