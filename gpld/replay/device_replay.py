"""Replay on the device."""

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, Shaped

from . import functional
from .abstract_replay import AbstractReplay, stream_length
from .functional import Counters, Layout, Steps
from .ring import Ring
from .storage import StepSpec


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

    def changed(self, arrays: Steps, counters: Counters) -> None:
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

    def on_host(self) -> Ring:
        """Copy the ring, since programs overwrite arrays at any time."""
        ring = Ring(
            {k: np.array(x) for k, x in self.arrays.items()}, mutable=self.groups["mutable"]
        )
        ring.num_added, ring.oldest = self.num_added, self.oldest
        return ring


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

    def changed(self, arrays: Steps, counters: Counters) -> None:
        """Take over what a program has made of arrays and counters."""
        self.counters = counters
        self.ring.changed(arrays, counters)

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
