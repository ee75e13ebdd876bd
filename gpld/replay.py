"""Sequence replay on the host (Hafner et al., 2025, "Experience replay").

Every environment writes one endless stream of steps, in which episode follows episode. An
item is a window of consecutive steps of one stream, which may cross the ends of episodes.
Items are drawn uniformly; besides, each step is used once soon after it was collected
(the online queue). The agent's latent states are stored with the steps, start the
sequences that are sampled, and are refreshed with the ones recomputed in training.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


class StepSpec(NamedTuple):
    """Shape and dtype of one stored array, for one step of one stream."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of one step."""
        return int(np.prod(self.shape, dtype=int)) * np.dtype(self.dtype).itemsize


class Sample(NamedTuple):
    """Windows drawn from replay."""

    steps: dict[str, Shaped[np.ndarray, "batch window ..."]]
    stream: Int[np.ndarray, " batch"]
    """Stream of each window."""

    start: Int[np.ndarray, " batch"]
    """Position in its stream of each window's first step, counted from the beginning."""


class Replay:
    """Uniform replay over all windows of all streams, with an online queue.

    All streams grow together, one step at a time. The oldest windows are dropped once
    there are more than `capacity`.
    """

    def __init__(
        self,
        specs: Mapping[str, StepSpec],
        *,
        num_streams: int,
        window: int,
        capacity: int,
        max_steps: int,
        online: bool = True,
        seed: int = 0,
    ):
        """Allocates an empty replay.

        Args:
            specs: Stored arrays by name, `is_first` and `is_last` among them.
            num_streams: Number of streams, one for each environment.
            window: Steps per window, the context step included.
            capacity: Windows kept, over all streams.
            max_steps: Steps that will be added to each stream at most; no more memory than
                they need is taken.
            online: Whether every step is used once soon after it was added.
            seed: Seed of the sampling.

        Raises:
            ValueError: If `capacity` is below one window per stream.
        """
        if capacity < num_streams:
            raise ValueError(
                f"`capacity` must hold a window for each of {num_streams} streams, got {capacity}."
            )
        self.window = window
        self.num_streams = num_streams
        self.num_added = 0
        self._length = stream_length(num_streams, window, capacity, max_steps)
        # np.empty: memory is taken by the system when it is first written to.
        self._arrays = {
            name: np.empty((num_streams, self._length, *spec.shape), spec.dtype)
            for name, spec in specs.items()
        }
        self._online = online
        self._queue: deque[tuple[int, int]] = deque()
        self._rng = np.random.default_rng(seed)

    @property
    def num_windows(self) -> int:
        """Windows that can be drawn now."""
        return self.num_streams * max(0, self._stored - self.window + 1)

    @property
    def _stored(self) -> int:
        """Steps of each stream that are still there."""
        return min(self.num_added, self._length)

    def add(self, steps: Arrays) -> None:
        """Appends one step to every stream.

        Args:
            steps: Arrays by name, with a leading stream axis.

        Raises:
            ValueError: If names or shapes differ from the specs.
        """
        if steps.keys() != self._arrays.keys():
            raise ValueError(
                f"`steps` must have the names {sorted(self._arrays)}, got {sorted(steps)}."
            )
        position = self.num_added % self._length
        for name, values in steps.items():
            if values.shape != self._arrays[name][:, position].shape:
                expected = self._arrays[name][:, position].shape
                raise ValueError(f"`{name}` must have shape {expected}, got {values.shape}.")
            self._arrays[name][:, position] = values
        self.num_added += 1
        # Windows that begin at steps 1, 1 + window, ... as they become complete; together
        # they hold every step but the first.
        start = self.num_added - self.window
        if self._online and start % self.window == 1 % self.window and start >= 1:
            self._queue.extend((stream, start) for stream in range(self.num_streams))

    def sample(self, batch_size: int) -> Sample:
        """Draws windows with replacement, those of the online queue first.

        Args:
            batch_size: Number of windows.

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
        oldest = self.num_added - self._stored
        queued = []
        while self._queue and len(queued) < batch_size:
            stream, start = self._queue.popleft()
            if start >= oldest:
                queued.append((stream, start))
        drawn = self._rng.integers(self.num_windows, size=batch_size - len(queued))
        streams, starts = np.divmod(drawn, self._stored - self.window + 1)
        queued_streams, queued_starts = np.array(queued, int).reshape(-1, 2).T
        streams = np.concatenate([queued_streams, streams])
        starts = np.concatenate([queued_starts, starts + oldest])
        positions = (starts[:, None] + np.arange(self.window)) % self._length
        steps = {name: values[streams[:, None], positions] for name, values in self._arrays.items()}
        steps["is_last"][:, :-1] |= steps["is_first"][:, 1:]
        return Sample(steps, streams, starts)

    def refresh(self, sample: Sample, values: Arrays) -> None:
        """Overwrites stored arrays of a sample, the context step excepted.

        Where windows overlap the last one wins; steps that were dropped since are skipped.

        Args:
            sample: Windows that were drawn from this replay.
            values: Arrays by name, of shape `[batch, window - 1, ...]`.
        """
        steps = sample.start[:, None] + np.arange(1, self.window)
        kept = steps >= self.num_added - self._stored
        streams = np.broadcast_to(sample.stream[:, None], steps.shape)[kept]
        positions = steps[kept] % self._length
        for name, new in values.items():
            self._arrays[name][streams, positions] = new[kept]


def stream_length(num_streams: int, window: int, capacity: int, max_steps: int) -> int:
    """Steps of each stream that a replay keeps: what its windows cover."""
    windows = capacity // num_streams
    return max(window, min(max_steps, windows + window - 1))


class TrainRatio:
    """How many updates are due after a number of env steps.

    Training begins when there are as many windows as a batch has steps, with one update;
    from there on the updates follow the env steps in proportion. Every env step counts, in
    whichever environment, also the resets.
    """

    def __init__(self, *, num_streams: int, window: int, min_windows: int, ratio: float):
        """Fixes the arithmetic.

        Args:
            num_streams: Environments that collect together.
            window: Steps per window.
            min_windows: Windows that must exist before the first update.
            ratio: Updates per env step.
        """
        # After n steps a stream has n - window + 1 windows.
        self.first_env_step = (window - 1) * num_streams + min_windows
        self.ratio = ratio

    def updates_due(self, env_step: int) -> int:
        """Updates that must have been made once `env_step` steps were collected."""
        if env_step < self.first_env_step:
            return 0
        return 1 + int((env_step - self.first_env_step) * self.ratio)
