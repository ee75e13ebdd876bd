"""Replay on the host, in memory or in files that are mapped into it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from .abstract_replay import AbstractReplay, stream_length
from .ring import Arrays, Ring
from .storage import StepSpec, allocate


class Sample(NamedTuple):
    """Windows drawn from replay."""

    steps: dict[str, Shaped[np.ndarray, "batch steps ..."]]
    stream: Int[np.ndarray, " batch"]
    """Stream of each window."""

    start: Int[np.ndarray, " batch"]
    """Position in its stream of each window's first step, counted from the beginning."""


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
        """Allocate an empty replay.

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
        self._served = 0  # windows that the online queue has served or dropped
        self._rng = np.random.default_rng(seed)

    def add(self, steps: Arrays) -> None:
        """Append one step to every stream.

        Args:
            steps: Arrays by name, with a leading stream axis.

        Raises:
            ValueError: If names or shapes differ from the specs; nothing is added then.
        """
        arrays = self.ring.arrays
        if steps.keys() != arrays.keys():
            raise ValueError(f"`steps` must have the names {sorted(arrays)}, got {sorted(steps)}.")
        for name, values in steps.items():
            shape = arrays[name].shape
            _check_shape(name, values, (shape[0], *shape[2:]))
        self.ring.append(steps)

    def sample(self, batch_size: int, *, context_only: Collection[str] = ()) -> Sample:
        """Draw windows with replacement, those of the online queue first.

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
        if self.num_windows == 0:
            raise ValueError(
                f"`sample` needs at least {self.window} steps per stream, got {self.num_added}."
            )
        queued = self._queue()[:batch_size]
        if queued:
            self._served = queued.stop
        drawn = self._rng.integers(self.num_windows, size=batch_size - len(queued))
        streams, starts = np.divmod(drawn, self._windows_per_stream)
        queued_streams, queued_starts = self._places(queued)
        streams = np.concatenate([queued_streams, streams])
        starts = np.concatenate([queued_starts, starts + self.ring.oldest])
        steps = self._read(streams, starts, context_only)
        steps["is_last"][:, :-1] |= steps["is_first"][:, 1:]
        return Sample(steps, streams, starts)

    def _read(
        self,
        streams: Int[np.ndarray, " batch"],
        starts: Int[np.ndarray, " batch"],
        context_only: Collection[str],
    ) -> dict[str, Shaped[np.ndarray, "batch steps ..."]]:
        """Return copies of windows."""
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
        """Overwrite stored arrays of a sample, the context step excepted.

        Where windows overlap the last one wins; steps that were dropped since are skipped.

        Args:
            sample: Windows that were drawn from this replay.
            values: Mutable arrays by name, of shape `[batch, window - 1, ...]`.

        Raises:
            ValueError: If one of the arrays is not mutable, or has another shape.
        """
        mutable = self.ring.groups["mutable"]
        if not values.keys() <= set(mutable):
            raise ValueError(f"`values` must be among {list(mutable)}, got {sorted(values)}.")
        batch = (sample.start.size, self.window - 1)
        for name, new in values.items():
            _check_shape(name, new, (*batch, *self.ring.arrays[name].shape[2:]))
        for row, (stream, start) in enumerate(zip(sample.stream, sample.start, strict=True)):
            dropped = max(0, self.ring.oldest - int(start) - 1)
            if dropped < self.window - 1:
                new = {name: array[row, dropped:] for name, array in values.items()}
                self.ring.overwrite(int(stream), int(start) + 1 + dropped, new)

    def get_state(self) -> dict[str, Any]:
        """Return everything but the steps themselves, as JSON can hold it."""
        return {
            "num_added": self.ring.num_added,
            "oldest": self.ring.oldest,
            "queue": self._places(self._queue()).T.tolist(),
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` gave, as `AbstractReplay.set_state`."""
        # The last of the windows that were ever complete.
        complete = self.ring.num_streams * ((state["num_added"] - 1) // self.window)
        served = complete - len(state["queue"])
        queue = [list(window) for window in state["queue"]]
        if queue != self._places(range(served, complete)).T.tolist():
            raise ValueError(f"`queue` must hold the last complete windows, got {queue[:3]}")
        self._rng.bit_generator.state = state["rng"]
        self._served = max(served, 0)
        self.ring.num_added = state["num_added"]
        self.ring.oldest = max(state["oldest"], state["num_added"] - self.ring.length)

    @property
    def num_windows(self) -> int:
        """Windows that can be drawn now."""
        return self.ring.num_streams * self._windows_per_stream

    @property
    def _windows_per_stream(self) -> int:
        return max(0, self.ring.num_added - self.ring.oldest - self.window + 1)

    def _queue(self) -> range:
        """Return the numbers of the windows that wait in the online queue.

        Window q is that of stream `q % num_streams` from step `1 + window * (q // num_streams)`
        on: together the windows hold every step but the first of each stream.
        """
        streams = self.ring.num_streams
        complete = (self.num_added - 1) // self.window if self._online else 0
        dropped = (self.ring.oldest + self.window - 2) // self.window
        first = max(self._served, streams * dropped)
        return range(first, max(first, streams * complete))

    def _places(self, windows: range) -> Int[np.ndarray, "2 queued"]:
        """Return the streams and the first steps of windows of the online queue."""
        row, stream = np.divmod(np.arange(windows.start, windows.stop), self.ring.num_streams)
        return np.stack([stream, 1 + self.window * row])


def _windows(
    array: Shaped[np.ndarray, "stream length *shape"], window: int
) -> Shaped[np.ndarray, "stream starts window *shape"]:
    """Return a view of all windows, which overlap in it."""
    view = np.lib.stride_tricks.sliding_window_view(array, window, axis=1)
    return np.moveaxis(view, -1, 2)


def _check_shape(name: str, values: Shaped[np.ndarray, "..."], expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise ValueError(f"`{name}` must have shape {expected}, got {values.shape}.")
