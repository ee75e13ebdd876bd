"""Sequence replay as pure functions over arrays, for programs that replay on the device.

The steps are a dictionary of arrays `[stream, length, ...]`; what has happened to them is a few
integers, which are the same for all replays that are filled and drawn from together. Windows,
order and contents are those of `Replay`.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

Steps = dict[str, Shaped[Array, "stream length ..."]]
"""Stored steps by name."""


class Layout(NamedTuple):
    """Sizes of a replay, for which programs are compiled."""

    num_streams: int
    length: int
    """Most steps of a stream."""

    window: int
    """Steps per window, the context step included."""

    online: bool
    """Whether every step is used once soon after it was added."""


class Counters(NamedTuple):
    """Counts of a replay's steps and samples, from the beginning of the streams."""

    num_added: Int[Array, ""]
    """Steps of each stream so far."""

    oldest: Int[Array, ""]
    """First step of each stream that is still there."""

    served: Int[Array, ""]
    """Windows that the online queue has served or dropped."""

    drawn: Int[Array, ""]
    """Samples so far; mixed into their random keys."""


class Windows(NamedTuple):
    """Places of windows that were drawn."""

    stream: Int[Array, " batch"]
    start: Int[Array, " batch"]
    """First step of each."""


def initial() -> Counters:
    """Return the counters of an empty replay."""
    return Counters(*(jnp.zeros((), jnp.int32) for _ in Counters._fields))


def append(steps: Steps, counters: Counters, new: Mapping[str, Shaped[Array, "..."]]) -> Steps:
    """Write one step of every stream, over the oldest if all are taken.

    Args:
        steps: What is there.
        counters: Those before `added`.
        new: Arrays by name, with a leading stream axis.
    """
    appended = {}
    for name, array in steps.items():
        step, position = new[name].astype(array.dtype), counters.num_added % array.shape[1]
        appended[name] = jax.lax.dynamic_update_index_in_dim(array, step, position, 1)
    return appended


def added(counters: Counters, layout: Layout) -> Counters:
    """Return the counters after `append`."""
    num_added = counters.num_added + 1
    oldest = jnp.maximum(counters.oldest, num_added - layout.length)
    return counters._replace(num_added=num_added, oldest=oldest)


def draw(counters: Counters, layout: Layout, batch_size: int, *, key: PRNGKeyArray) -> Windows:
    """Draw windows with replacement, those of the online queue first.

    There must be a window.

    Args:
        counters: Those before `sampled`.
        layout: Sizes of the replay.
        batch_size: Number of windows.
        key: Random key of the replay, always the same.
    """
    first, stop = _queue(counters, layout)
    queued = first + jnp.arange(batch_size, dtype=jnp.int32)
    per_stream = counters.num_added - counters.oldest - layout.window + 1
    key = jr.fold_in(key, counters.drawn)
    number = jr.randint(key, (batch_size,), 0, layout.num_streams * per_stream, jnp.int32)
    return Windows(
        stream=jnp.where(queued < stop, queued % layout.num_streams, number // per_stream),
        start=jnp.where(
            queued < stop,
            1 + layout.window * (queued // layout.num_streams),
            counters.oldest + number % per_stream,
        ),
    )


def sampled(counters: Counters, layout: Layout, batch_size: int) -> Counters:
    """Return the counters after `draw`."""
    first, stop = _queue(counters, layout)
    served = jnp.minimum(first + batch_size, jnp.maximum(first, stop))
    return counters._replace(served=served, drawn=counters.drawn + 1)


def read(
    steps: Steps, layout: Layout, windows: Windows, *, context_only: Collection[str] = ()
) -> dict[str, Shaped[Array, "batch steps ..."]]:
    """Return the steps of windows; an episode that is cut off counts as ended.

    Args:
        steps: What is there.
        layout: Sizes of the replay.
        windows: Which are read.
        context_only: Names of arrays of which only the first step of each window is read.
    """
    offsets = jnp.arange(layout.window, dtype=jnp.int32)[None]
    positions = (windows.start[:, None] + offsets) % layout.length
    stream = windows.stream[:, None]
    found = {
        name: array[stream, positions[:, :1] if name in context_only else positions]
        for name, array in steps.items()
    }
    ended = found["is_last"][:, :-1] | found["is_first"][:, 1:]
    found["is_last"] = found["is_last"].at[:, :-1].set(ended)
    return found


def refresh(
    steps: Steps,
    counters: Counters,
    layout: Layout,
    windows: Windows,
    values: Mapping[str, Shaped[Array, "batch steps ..."]],
    *,
    where: Shaped[Array, ""] | bool = True,
) -> Steps:
    """Overwrite stored arrays of windows, the context step excepted.

    Where windows overlap the last one wins; steps that were dropped since are skipped.

    Args:
        steps: What is there.
        counters: What has happened, also since the windows were drawn.
        layout: Sizes of the replay.
        windows: Windows that were drawn from this replay.
        values: Arrays by name, of shape `[batch, window - 1, ...]`.
        where: Whether anything is overwritten.
    """
    stream, start = windows
    rows = jnp.arange(start.shape[0], dtype=jnp.int32)
    number = start[:, None] + jnp.arange(1, layout.window, dtype=jnp.int32)[None]
    # The order in which a device writes to the same place is not defined: one may write.
    later = (stream[:, None] == stream[None]) & (rows[:, None] < rows[None])
    offset = number[:, None] - start[None, :, None]  # in each of the other windows
    inside = (offset > 0) & (offset < layout.window)
    overwritten = jnp.any(later[:, :, None] & inside, axis=1)
    kept = where & (number >= counters.oldest) & ~overwritten
    # What is not written has an index beyond the arrays, each another one.
    stream = jnp.where(kept, stream[:, None], layout.num_streams + rows[:, None])
    position = number % layout.length
    new = dict(steps)
    for name, value in values.items():
        at = steps[name].at[stream, position]
        new[name] = at.set(value.astype(steps[name].dtype), mode="drop", unique_indices=True)
    return new


def _queue(counters: Counters, layout: Layout) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Return the first window in the online queue, and the one after the last, by numbers.

    Window q is that of stream `q % num_streams` from step `1 + window * (q // num_streams)` on:
    together the windows hold every step but the first of each stream.
    """
    if not layout.online:
        return counters.served, counters.served
    complete = (counters.num_added - 1) // layout.window
    dropped = (counters.oldest + layout.window - 2) // layout.window
    first = jnp.maximum(counters.served, layout.num_streams * dropped)
    return first, layout.num_streams * complete
