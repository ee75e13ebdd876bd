"""Sequence replay on the host (Hafner et al., 2025, "Experience replay").

Every environment writes one endless stream of steps, in which episode follows episode. An
item is a window of consecutive steps of one stream, which may cross the ends of episodes.
Items are drawn uniformly; besides, each step is used once soon after it was collected
(the online queue). The agent's latent states are stored with the steps, start the
sequences that are sampled, and are refreshed with the ones recomputed in training.
"""

from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from .ring import Arrays, Ring
from .storage import StepSpec


class Sample(NamedTuple):
    """Windows drawn from replay."""

    steps: dict[str, Shaped[np.ndarray, "batch steps ..."]]
    stream: Int[np.ndarray, " batch"]
    """Stream of each window."""

    start: Int[np.ndarray, " batch"]
    """Position in its stream of each window's first step, counted from the beginning."""


class Replay:
    """Uniform replay over all windows of all streams, with an online queue.

    All streams grow together, one step at a time. The oldest windows are dropped once
    there are more than `capacity`.

    Attributes:
        ring: The steps that are there.
        window: Steps per window.
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
            ValueError: If `capacity` is below one window per stream, or a name in `mutable`
                is none of `specs`.
            MachineError: If the folder has not enough space.
        """
        if capacity < num_streams:
            raise ValueError(
                f"`capacity` must hold a window for each of {num_streams} streams, got {capacity}."
            )
        length = stream_length(num_streams, window, capacity, max_steps)
        self.window = window
        self.ring = Ring(
            specs, num_streams=num_streams, length=length, mutable=mutable, folder=folder
        )
        self._windows = {name: _windows(array, window) for name, array in self.ring.arrays.items()}
        self._online = online
        self._queue: deque[tuple[int, int]] = deque()
        self._rng = np.random.default_rng(seed)

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

    def add(self, steps: Arrays) -> None:
        """Appends one step to every stream.

        Args:
            steps: Arrays by name, with a leading stream axis.

        Raises:
            ValueError: If names or shapes differ from the specs; nothing is added then.
        """
        arrays = self.ring.arrays
        if steps.keys() != arrays.keys():
            raise ValueError(f"`steps` must have the names {sorted(arrays)}, got {sorted(steps)}.")
        for name, values in steps.items():
            _check_shape(name, values, arrays[name][:, 0].shape)
        self.ring.append(steps)
        # Windows that begin at steps 1, 1 + window, ... as they become complete; together
        # they hold every step but the first.
        start = self.num_added - self.window
        if self._online and start % self.window == 1 % self.window and start >= 1:
            self._queue.extend((stream, start) for stream in range(self.ring.num_streams))

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
        if self.num_windows == 0:
            raise ValueError(
                f"`sample` needs at least {self.window} steps per stream, got {self.num_added}."
            )
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
        """Overwrites stored arrays of a sample, the context step excepted.

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
        """Everything but the steps themselves, as JSON can hold it."""
        return {
            "num_added": self.ring.num_added,
            "oldest": self.ring.oldest,
            "queue": [list(item) for item in self._queue],
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` gave, whose steps must be there (`ReplayStore.load`).

        Of more steps than this replay keeps, the oldest are dropped.
        """
        self.ring.num_added = state["num_added"]
        self.ring.oldest = max(state["oldest"], state["num_added"] - self.ring.length)
        self._queue = deque((stream, start) for stream, start in state["queue"])
        self._rng.bit_generator.state = state["rng"]


def stream_length(num_streams: int, window: int, capacity: int, max_steps: int) -> int:
    """Steps of each stream that a replay keeps: what its windows cover."""
    windows = capacity // num_streams
    return max(window, min(max_steps, windows + window - 1))


def _windows(
    array: Shaped[np.ndarray, "stream length *shape"], window: int
) -> Shaped[np.ndarray, "stream starts window *shape"]:
    """A view of all windows, which overlap in it."""
    view = np.lib.stride_tricks.sliding_window_view(array, window, axis=1)
    return np.moveaxis(view, -1, 2)


def _check_shape(name: str, values: Shaped[np.ndarray, "..."], expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise ValueError(f"`{name}` must have shape {expected}, got {values.shape}.")
