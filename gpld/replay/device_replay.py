"""Replay on the device."""

import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from . import functional
from .abstract_replay import AbstractReplay, stream_length
from .functional import Counters, Layout, Steps
from .ring import Ring
from .storage import StepSpec


class _Stacked(NamedTuple):
    """One replay's steps in an array that holds those of several along its first axis."""

    array: Shaped[Array, "seed stream length ..."]
    place: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def itemsize(self) -> int:
        return self.array.dtype.itemsize


class DeviceRing(Ring):
    """Ring of device arrays, which programs change.

    Arrays to which nothing was added are zeros that take no memory, and those that were filled
    are on the host until the first program takes them.
    """

    def __init__(self, specs: Mapping[str, StepSpec], layout: Layout, mutable: Collection[str]):
        """Make an empty ring."""
        shape = (layout.num_streams, layout.length)
        zeros = {
            name: np.broadcast_to(np.zeros((), spec.dtype), (*shape, *spec.shape))
            for name, spec in specs.items()
        }
        super().__init__(zeros, mutable=mutable)
        self._zeros = zeros

    def fill(self, name: str, first: int, values: Shaped[np.ndarray, "stream steps ..."]) -> None:
        """Put steps of all streams in place, in an array on the host."""
        if self.arrays[name] is self._zeros[name]:
            self.arrays[name] = np.zeros_like(self._zeros[name], subok=False, order="C")
        super().fill(name, first, values)

    def changed(self, arrays: Mapping[str, Any], counters: Counters) -> None:
        """Take over what a program has made of it."""
        self.arrays = dict(arrays)
        self.num_added, self.oldest = int(counters.num_added), int(counters.oldest)
        self.num_changes += 1

    def take(self) -> dict[str, Any]:
        """Give the arrays to a program that overwrites them; `changed` brings others."""
        arrays, self.arrays = self.arrays, dict(self._zeros)
        return arrays

    def last_change(self, first: int, stop: int) -> int:
        """Return the last change to any step: a program does not tell which it refreshed."""
        del first, stop
        return self.num_changes

    def on_host(self, names: Collection[str], first: int, stop: int) -> Ring:
        """Copy consecutive steps, since programs overwrite arrays at any time.

        No more than these are copied, on the device as on the host: a replay may fill the device.
        """
        count = stop - first
        arrays = {name: self.arrays[name] for name in names}
        part = Ring(
            {
                k: np.empty((self.num_streams, count, *x.shape[2:]), x.dtype)
                for k, x in arrays.items()
            }
        )
        for offsets, positions in self.pieces(first, stop):
            for name, array in arrays.items():
                part.fill(name, first + offsets.start, _read(array, positions))
        return part


class DeviceReplay(AbstractReplay):
    """Uniform replay over all windows of all streams, with an online queue, on the device.

    A program takes the arrays of the `ring`, reads and writes them with `functional`, and brings
    them back with `changed`. It draws random numbers of JAX; in all else it is `Replay`.

    Attributes:
        ring: The steps that are there.
        layout: Sizes.
        key: Random key of the sampling, which is mixed with the number of samples.
        counters: What has happened.
    """

    ring: DeviceRing

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
    ):
        """Make an empty replay, which takes its memory when it is first used.

        Args:
            specs: Stored arrays by name, `is_first` and `is_last` among them.
            num_streams: Number of streams, one for each environment.
            window: Steps per window, the context step included.
            capacity: Windows kept, over all streams.
            max_steps: Steps that will be added to each stream at most.
            mutable: Names of the arrays that `refresh` may overwrite.
            online: Whether every step is used once soon after it was added.
            seed: Seed of the sampling.

        Raises:
            ValueError: If sizes are not allowed, see `stream_length`, or a name in `mutable`
                is none of `specs`.
        """
        length = stream_length(num_streams, window, capacity, max_steps)
        self.layout = Layout(num_streams, length, window, online)
        super().__init__(DeviceRing(specs, self.layout, mutable), window)
        self.key: PRNGKeyArray = jr.key(seed)
        self.counters = functional.initial()

    def changed(self, arrays: Steps, counters: Counters, *, place: int | None = None) -> None:
        """Take over what a program has made of arrays and counters.

        Args:
            arrays: Steps by name.
            counters: What has happened.
            place: Which replay it is, of arrays that hold several along their first axis.
        """
        self.counters = counters
        each = arrays if place is None else {k: _Stacked(x, place) for k, x in arrays.items()}
        self.ring.changed(each, counters)

    def get_state(self) -> dict[str, Any]:
        """Return everything but the steps themselves, as JSON can hold it."""
        return {name: int(value) for name, value in self.counters._asdict().items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` gave, as `AbstractReplay.set_state`."""
        oldest = max(state["oldest"], state["num_added"] - self.ring.length)
        values = {**state, "oldest": oldest}
        if not all(type(value) is int and 0 <= value < 2**31 for value in values.values()):
            raise ValueError(f"counters must be non-negative integers, got {values}")
        self.counters = Counters(**{name: jnp.int32(value) for name, value in values.items()})
        self.ring.num_added, self.ring.oldest = state["num_added"], oldest


def _read(array: Any, positions: slice) -> Shaped[np.ndarray, "stream steps ..."]:
    """Copy some positions of all streams to the host."""
    length, count = array.shape[1], positions.stop - positions.start
    # Rounded up to a power of two: each size is compiled once, and chunks have many.
    size = min(length, 1 << (count - 1).bit_length())
    first = min(positions.start, length - size)
    array, place = array if isinstance(array, _Stacked) else (array, None)
    steps = np.asarray(_part(array, place, first, size))
    return steps[:, positions.start - first :][:, :count]


@functools.partial(jax.jit, static_argnames="count")
def _part(
    array: Shaped[Array, "..."],
    place: Int[Array, ""] | int | None,
    first: Int[Array, ""] | int,
    count: int,
) -> Shaped[Array, "stream steps ..."]:
    """Cut out steps; parts of one size share one program, wherever they begin."""
    if place is None:
        return jax.lax.dynamic_slice_in_dim(array, first, count, axis=1)
    starts = (place, 0, first, *(0 for _ in array.shape[3:]))
    return jax.lax.dynamic_slice(array, starts, (1, array.shape[1], count, *array.shape[3:]))[0]
