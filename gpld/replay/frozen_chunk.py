"""Steps of one moment, which are read while the replay goes on.

Nothing is copied at that moment. Whoever overwrites a step that was not read yet first has
its old values kept (an undo log); reading copies what is there, in no hurry and without
holding anything up, and then puts the old values back in place. What this takes beside the
copy is what changes between the moment and the reading.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from .ring import Ring


class _Kept(NamedTuple):
    """Old values of some steps."""

    streams: Int[np.ndarray, " rows"]
    offsets: Int[np.ndarray, " rows"]
    values: dict[str, Shaped[np.ndarray, "rows ..."]]


class FrozenChunk:
    """Consecutive steps of all streams, as they are when this is made.

    One thread reads and another, which alone changes the ring, calls `keep`.

    Attributes:
        first: First step.
        stop: The one after the last.
    """

    def __init__(self, ring: Ring, names: tuple[str, ...], first: int, stop: int):
        """Remember the place of the steps.

        Args:
            ring: What holds them.
            names: Arrays of interest.
            first: First step, which must be there.
            stop: The one after the last.
        """
        self.first, self.stop = first, stop
        self._ring, self._names = ring, names
        self._lock = threading.Lock()
        self._read = False
        self._kept: list[_Kept] = []
        self._untouched: np.ndarray | None = None

    def keep(self, streams: slice, first: int, stop: int) -> None:
        """Keep values that are about to be overwritten, unless they were read already.

        Args:
            streams: Streams with the steps.
            first: First step; it and others may lie outside the chunk.
            stop: The one after the last.
        """
        first, stop = max(first, self.first), min(stop, self.stop)
        with self._lock:
            if self._read or first >= stop:
                return
            if self._untouched is None:
                self._untouched = np.ones((self._ring.num_streams, self.stop - self.first), bool)
            block = self._untouched[streams, first - self.first : stop - self.first]
            rows, steps = np.nonzero(block)
            block[:] = False
            rows += streams.start
            positions = (first + steps) % self._ring.length
            values = {name: self._ring.arrays[name][rows, positions] for name in self._names}
            self._kept.append(_Kept(rows, first + steps - self.first, values))

    def read(self, between: Callable[[], None]) -> Shaped[np.ndarray, ""]:
        """Copy the steps; to be called once.

        Args:
            between: Is called after each array, where the replay may go on.

        Returns:
            One structured number, each field of which is an array `[stream, step, ...]`.
        """
        chunk = np.empty((), chunk_dtype(self._ring, self._names, self.stop - self.first))
        for name in self._names:
            field = chunk[name]
            for offsets, positions in self._ring.pieces(self.first, self.stop):
                field[:, offsets] = self._ring.arrays[name][:, positions].view(field.dtype)
            between()
        with self._lock:  # from here on nothing is kept
            self._read = True
        for streams, offsets, values in self._kept:
            for name, old in values.items():
                chunk[name][streams, offsets] = old.view(chunk[name].dtype)
        self._kept.clear()
        self._untouched = None
        del self._ring  # it may be a copy, of which this was the last use
        return chunk


def chunk_dtype(ring: Ring, names: tuple[str, ...], num_steps: int) -> np.dtype:
    """Return a chunk's layout: one field for each array, large items first, so all are aligned."""
    arrays = sorted(((name, ring.arrays[name]) for name in names), key=lambda x: -x[1].itemsize)
    return np.dtype(
        [
            (name, plain(array.dtype), (ring.num_streams, num_steps, *array.shape[2:]))
            for name, array in arrays
        ]
    )


def plain(dtype: np.dtype) -> np.dtype:
    """Return a type that NumPy's files can name: unsigned integers in place of bfloat16."""
    return np.dtype(f"u{dtype.itemsize}") if dtype.kind == "V" else dtype
