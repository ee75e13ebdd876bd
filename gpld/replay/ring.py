"""Ring of the last steps of endless streams, addressed by their number from the beginning."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]

Group = Literal["immutable", "mutable"]
"""Arrays that never change once a step was added, and those that do."""

Watcher = Callable[[Group, slice, int, int], None]
"""Is called with group, streams, first step and the one after the last, before these are
overwritten."""


class Ring:
    """Steps of all streams, the oldest of which give way once `length` are there.

    Attributes:
        arrays: By name, of shape `[stream, length, ...]`.
        groups: Names of the arrays that can change and of those that cannot.
        num_streams: Number of streams, which all have the same steps.
        length: Most steps of a stream.
        num_added: Steps of each stream so far.
        oldest: The first step of each stream that is still there.
        num_changes: Changes so far, over all steps.
        watcher: Is told of steps that are about to be overwritten, if there is one.
    """

    def __init__(self, arrays: Mapping[str, Any], *, mutable: Collection[str] = ()):
        """Make an empty ring.

        Args:
            arrays: By name, of shape `[stream, length, ...]`.
            mutable: Names of the arrays that `overwrite` may change.

        Raises:
            ValueError: If a name in `mutable` is none of `arrays`.
        """
        if not arrays.keys() >= set(mutable):
            raise ValueError(f"`mutable` must be among {sorted(arrays)}, got {sorted(mutable)}.")
        self.arrays: dict[str, Any] = dict(arrays)
        self.groups: dict[Group, tuple[str, ...]] = {
            "immutable": tuple(sorted(arrays.keys() - set(mutable))),
            "mutable": tuple(sorted(mutable)),
        }
        self.num_streams, self.length = next(iter(arrays.values())).shape[:2]
        self.num_added = self.oldest = 0
        self.watcher: Watcher | None = None
        self.num_changes = 0
        self._changed_at = np.zeros(self.length, np.int64)

    def append(self, steps: Arrays) -> None:
        """Add one step to every stream: arrays by name, with a leading stream axis."""
        if self.num_added - self.oldest == self.length:
            if (watcher := self.watcher) is not None:  # which another thread may take away
                for group in self.groups:
                    watcher(group, slice(0, self.num_streams), self.oldest, self.oldest + 1)
            self.oldest += 1
        position = self.num_added % self.length
        for name, values in steps.items():
            self.arrays[name][:, position] = values
        self.num_added += 1

    def overwrite(self, stream: int, first: int, values: Arrays) -> None:
        """Change consecutive steps of one stream, all of which must be there.

        Args:
            stream: The stream.
            first: The first step.
            values: By name, mutable arrays with a leading axis of steps.
        """
        stop = first + len(next(iter(values.values())))
        if (watcher := self.watcher) is not None:
            watcher("mutable", slice(stream, stream + 1), first, stop)
        self.num_changes += 1
        for offsets, positions in self.pieces(first, stop):
            self._changed_at[positions] = self.num_changes
            for name, new in values.items():
                self.arrays[name][stream, positions] = new[offsets]

    def fill(self, name: str, first: int, values: Shaped[np.ndarray, "stream steps ..."]) -> None:
        """Put steps of all streams in place that were taken from another ring.

        Args:
            name: The array.
            first: The first step.
            values: The steps, or integers of the same bits.
        """
        array = self.arrays[name]
        for offsets, positions in self.pieces(first, first + values.shape[1]):
            array[:, positions] = values[:, offsets].view(array.dtype)

    def on_host(self, names: Collection[str], first: int, stop: int) -> "Ring":
        """Return a ring that holds some arrays and steps as they are until they are overwritten."""
        del names, first, stop
        return self

    def pieces(self, first: int, stop: int) -> list[tuple[slice, slice]]:
        """Return the places of consecutive steps: pairs of offsets from `first` and positions."""
        begin, count = first % self.length, stop - first
        whole = min(count, self.length - begin)
        pieces = [(slice(0, whole), slice(begin, begin + whole))]
        if whole < count:
            pieces.append((slice(whole, count), slice(0, count - whole)))
        return pieces

    def last_change(self, first: int, stop: int) -> int:
        """Return the number of the last change to any of these steps; 0 if there was none."""
        pieces = self.pieces(first, stop)
        return max(int(self._changed_at[positions].max()) for _, positions in pieces)
