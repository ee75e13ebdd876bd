"""Replay on the device, driven step by step as the program of the training loop drives it."""

import jax
import jax.numpy as jnp
import numpy as np

from gpld.replay import DeviceReplay, Sample, functional

_draw = jax.jit(functional.draw, static_argnums=(1, 2))
_read = jax.jit(functional.read, static_argnums=1, static_argnames="context_only")
_refresh = jax.jit(functional.refresh, static_argnums=2)


class DrivenReplay(DeviceReplay):
    """Adds, draws and refreshes by the functions that the program is made of."""

    def add(self, steps):
        new = {name: jnp.asarray(values) for name, values in steps.items()}
        arrays = functional.append(self._take(), self.counters, new)
        self.changed(arrays, functional.added(self.counters, self.layout))

    def sample(self, batch_size, *, context_only=()):
        windows = _draw(self.counters, self.layout, batch_size, key=self.key)
        names = tuple(sorted(context_only))
        steps = _read(self.ring.arrays, self.layout, windows, context_only=names)
        self.counters = functional.sampled(self.counters, self.layout, batch_size)
        steps, windows = jax.tree.map(np.array, (steps, windows))
        return Sample(steps, *windows)

    def refresh(self, sample, values):
        windows = functional.Windows(*(jnp.asarray(x, jnp.int32) for x in sample[1:]))
        arrays = _refresh(self._take(), self.counters, self.layout, windows, values)
        self.changed(arrays, self.counters)

    @property
    def num_windows(self):
        per_stream = self.num_added - self.ring.oldest - self.window + 1
        return self.ring.num_streams * max(0, per_stream)

    def _take(self):
        return {k: jnp.array(x) for k, x in self.ring.take().items()}
