"""Replay on the host, in memory or in files that are mapped into it."""

from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from .abstract_replay import AbstractReplay, Sample, stream_length
from .ring import Arrays, Ring
from .storage import StepSpec, allocate


class Replay(AbstractReplay):
    """Uniform replay over all windows of all streams, with an online queue, on the host.

    It draws random numbers of NumPy.
    """

    def __init__(
        self,
        specs: Mapping[str, StepSpec],
        *,
        num_streams: int,
        window: int,
        capacity: int,
        max_steps: int,
        mutable: Collection[str] = (),
        online: bool = True,
        seed: int = 0,
        folder: Path | None = None,
    ):
        """Allocates an empty replay.

        Args:
            specs: Stored arrays by name, `is_first` and `is_last` among them.
            num_streams: Number of streams, one for each environment.
            window: Steps per window, the context step included.
            capacity: Windows kept, over all streams.
            max_steps: Steps that will be added to each stream at most; no more memory than
                they need is taken.
            mutable: Names of the arrays that `refresh` may overwrite.
            online: Whether every step is used once soon after it was added.
            seed: Seed of the sampling.
            folder: Where the steps are kept in files that are mapped into memory; None
                keeps them in memory.

        Raises:
            ValueError: If sizes are not allowed, see `stream_length`, or a name in `mutable`
                is none of `specs`.
            MachineError: If the folder has not enough space.
        """
        length = stream_length(num_streams, window, capacity, max_steps)
        arrays = allocate(specs, num_streams=num_streams, length=length, folder=folder)
        super().__init__(Ring(arrays, mutable=mutable), window)
        self._windows = {name: _windows(array, window) for name, array in self.ring.arrays.items()}
        self._online = online
        self._queue: deque[tuple[int, int]] = deque()
        self._rng = np.random.default_rng(seed)

    def add(self, steps: Arrays) -> None:
        """Appends one step to every stream, as `AbstractReplay.add`."""
        self._check_steps(steps)
        self.ring.append(steps)
        # Windows that begin at steps 1, 1 + window, ... as they become complete; together
        # they hold every step but the first.
        start = self.num_added - self.window
        if self._online and start % self.window == 1 % self.window and start >= 1:
            self._queue.extend((stream, start) for stream in range(self.ring.num_streams))

    def sample(self, batch_size: int, *, context_only: Collection[str] = ()) -> Sample:
        """Draws windows with replacement, as `AbstractReplay.sample`."""
        self._check_windows()
        oldest = self.ring.oldest
        queued = []
        while self._queue and len(queued) < batch_size:
            stream, start = self._queue.popleft()
            if start >= oldest:
                queued.append((stream, start))
        drawn = self._rng.integers(self.num_windows, size=batch_size - len(queued))
        streams, starts = np.divmod(drawn, self._windows_per_stream)
        queued_streams, queued_starts = np.array(queued, int).reshape(-1, 2).T
        streams = np.concatenate([queued_streams, streams])
        starts = np.concatenate([queued_starts, starts + oldest])
        steps = self._read(streams, starts, context_only)
        steps["is_last"][:, :-1] |= steps["is_first"][:, 1:]
        return Sample(steps, streams, starts)

    def _read(
        self,
        streams: Int[np.ndarray, " batch"],
        starts: Int[np.ndarray, " batch"],
        context_only: Collection[str],
    ) -> dict[str, Shaped[np.ndarray, "batch steps ..."]]:
        """Copies of windows."""
        length = self.ring.length
        lengths = {name: 1 if name in context_only else self.window for name in self.ring.arrays}
        first = starts % length
        if np.all(first <= length - self.window):  # each window is one block of memory
            return {
                name: self._windows[name][streams, first, :steps] for name, steps in lengths.items()
            }
        positions = (first[:, None] + np.arange(self.window)) % length
        return {
            name: self.ring.arrays[name][streams[:, None], positions[:, :steps]]
            for name, steps in lengths.items()
        }

    def refresh(self, sample: Sample, values: Arrays) -> None:
        """Overwrites stored arrays of a sample, as `AbstractReplay.refresh`."""
        self._check_values(sample, values)
        for row, (stream, start) in enumerate(zip(sample.stream, sample.start, strict=True)):
            dropped = max(0, self.ring.oldest - int(start) - 1)
            if dropped < self.window - 1:
                new = {name: array[row, dropped:] for name, array in values.items()}
                self.ring.overwrite(int(stream), int(start) + 1 + dropped, new)

    def get_state(self) -> dict[str, Any]:
        """Everything but the steps themselves, as JSON can hold it."""
        return {
            "num_added": self.ring.num_added,
            "oldest": self.ring.oldest,
            "queue": [list(item) for item in self._queue],
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` gave, as `AbstractReplay.set_state`."""
        queue = [(stream, start) for stream, start in state["queue"]]
        # The last windows of those that were ever complete, in the order in which `add` adds them.
        streams = self.ring.num_streams
        complete = streams * ((state["num_added"] - 1) // self.window)
        waiting = range(complete - len(queue), complete)
        if queue != [(q % streams, 1 + self.window * (q // streams)) for q in waiting]:
            raise ValueError(f"`queue` must hold the last complete windows, got {queue[:3]}")
        self._rng.bit_generator.state = state["rng"]
        self._queue = deque(queue)
        self.ring.num_added = state["num_added"]
        self.ring.oldest = max(state["oldest"], state["num_added"] - self.ring.length)


def _windows(
    array: Shaped[np.ndarray, "stream length *shape"], window: int
) -> Shaped[np.ndarray, "stream starts window *shape"]:
    """A view of all windows, which overlap in it."""
    view = np.lib.stride_tricks.sliding_window_view(array, window, axis=1)
    return np.moveaxis(view, -1, 2)
