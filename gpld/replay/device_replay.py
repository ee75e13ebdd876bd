"""Replay on the device."""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, Shaped

from . import functional
from .abstract_replay import AbstractReplay, Sample, stream_length
from .functional import Counters, Layout, Steps, Windows
from .ring import Arrays, Ring
from .storage import StepSpec


class DeviceRing(Ring):
    """A ring of device arrays, which programs change.

    Arrays to which nothing was added are zeros that take no memory, and those that were filled
    are on the host until the first program takes them.
    """

    def __init__(self, specs: Mapping[str, StepSpec], layout: Layout, mutable: Collection[str]):
        """Makes an empty ring."""
        shape = (layout.num_streams, layout.length)
        zeros = {
            name: np.broadcast_to(np.zeros((), spec.dtype), (*shape, *spec.shape))
            for name, spec in specs.items()
        }
        super().__init__(zeros, mutable=mutable)
        self._zeros = zeros

    def fill(self, name: str, first: int, values: Shaped[np.ndarray, "stream steps ..."]) -> None:
        """Puts steps of all streams in place, in an array on the host."""
        if self.arrays[name] is self._zeros[name]:
            self.arrays[name] = np.zeros_like(self._zeros[name], subok=False, order="C")
        super().fill(name, first, values)

    def changed(self, arrays: Steps, counters: Counters) -> None:
        """Takes over what a program has made of it."""
        self.arrays = dict(arrays)
        self.num_added, self.oldest = int(counters.num_added), int(counters.oldest)
        self._changes += 1

    def take(self) -> dict[str, Any]:
        """Its arrays, to be used in a program that overwrites them; `changed` brings others."""
        arrays, self.arrays = self.arrays, dict(self._zeros)
        return arrays

    def last_change(self, first: int, stop: int) -> int:
        """The last change to any step: which ones a program has refreshed is not known."""
        del first, stop
        return self._changes

    def on_host(self) -> Ring:
        """A copy, since programs overwrite arrays at any time."""
        ring = Ring(
            {k: np.array(x) for k, x in self.arrays.items()}, mutable=self.groups["mutable"]
        )
        ring.num_added, ring.oldest = self.num_added, self.oldest
        return ring


class DeviceReplay(AbstractReplay):
    """Uniform replay over all windows of all streams, with an online queue, on the device.

    It draws random numbers of JAX; in all else it is the replay on the host. A program that
    does its own replay takes the arrays of the `ring` and brings them back with `changed`.

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
        """Makes an empty replay, which takes its memory when it is first used.

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

    @property
    def nbytes(self) -> int:
        """Bytes of the replay."""
        return sum(array.nbytes for array in self.ring.arrays.values())

    def add(self, steps: Arrays) -> None:
        """Appends one step to every stream, as `AbstractReplay.add`."""
        self._check_steps(steps)
        arrays, counters = _add(self._take(), self.counters, dict(steps), layout=self.layout)
        self.changed(arrays, counters)

    def sample(self, batch_size: int, *, context_only: Collection[str] = ()) -> Sample:
        """Draws windows with replacement, as `AbstractReplay.sample`."""
        self._check_windows()
        windows, self.counters, steps = _sample(
            self.ring.arrays,
            self.counters,
            self.key,
            layout=self.layout,
            batch_size=batch_size,
            context_only=tuple(sorted(context_only)),
        )
        steps, windows = jax.tree.map(np.array, (steps, windows))
        return Sample(steps, *windows)

    def refresh(self, sample: Sample, values: Arrays) -> None:
        """Overwrites stored arrays of a sample, as `AbstractReplay.refresh`."""
        self._check_values(sample, values)
        windows = Windows(*(jnp.asarray(x, jnp.int32) for x in (sample.stream, sample.start)))
        arrays = self._take()
        arrays = _refresh(arrays, self.counters, windows, dict(values), layout=self.layout)
        self.changed(arrays, self.counters)

    def changed(self, arrays: Steps, counters: Counters) -> None:
        """Takes over what a program has made of arrays and counters."""
        self.counters = counters
        self.ring.changed(arrays, counters)

    def get_state(self) -> dict[str, Any]:
        """Everything but the steps themselves, as JSON can hold it."""
        return {name: int(value) for name, value in self.counters._asdict().items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` gave, as `AbstractReplay.set_state`."""
        oldest = max(state["oldest"], state["num_added"] - self.ring.length)
        values = {**state, "oldest": oldest}
        if not all(type(value) is int and 0 <= value < 2**31 for value in values.values()):
            raise ValueError(f"counters must be non-negative integers, got {values}")
        self.counters = Counters(**{name: jnp.int32(value) for name, value in values.items()})
        self.ring.num_added, self.ring.oldest = state["num_added"], oldest

    def _take(self) -> Steps:
        """The arrays on the device, in memory that a program may use again."""
        arrays = self.ring.take()
        return {k: x if isinstance(x, jax.Array) else jnp.array(x) for k, x in arrays.items()}


@functools.partial(jax.jit, static_argnames="layout", donate_argnums=0)
def _add(
    arrays: Steps, counters: Counters, new: dict[str, Any], *, layout: Layout
) -> tuple[Steps, Counters]:
    return functional.append(arrays, counters, new), functional.added(counters, layout)


@functools.partial(jax.jit, static_argnames=("layout", "batch_size", "context_only"))
def _sample(
    arrays: Steps,
    counters: Counters,
    key: PRNGKeyArray,
    *,
    layout: Layout,
    batch_size: int,
    context_only: tuple[str, ...],
) -> tuple[Windows, Counters, dict[str, Shaped[jax.Array, "batch steps ..."]]]:
    windows = functional.draw(counters, layout, batch_size, key=key)
    steps = functional.read(arrays, layout, windows, context_only=context_only)
    return windows, functional.sampled(counters, layout, batch_size), steps


@functools.partial(jax.jit, static_argnames="layout", donate_argnums=0)
def _refresh(
    arrays: Steps,
    counters: Counters,
    windows: Windows,
    values: dict[str, Any],
    *,
    layout: Layout,
) -> Steps:
    return functional.refresh(arrays, counters, layout, windows, values)
