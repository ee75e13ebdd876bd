"""Choices that depend on the machine: one function makes them, and all else takes them as values.

They change what is computed by rounding alone, and how long it takes.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import jax


class Choices(NamedTuple):
    """Precision, forms and rewriting of the networks' programs on one machine."""

    backend: str
    """Platform that programs are made for: cpu, gpu or tpu."""

    precision: Literal["float32", "mixed", "bfloat16"]
    dtype: str
    """Dtype of the networks' states and activations."""

    tiles: bool
    """True for a CPU that multiplies matrices of bfloat16 in tiles (AMX): then mixed precision
    takes convolutions as products of matrices. Where products of bfloat16 are taken in vectors
    they are half as long as those of float32, which is less than writing convolutions so costs."""

    rewrite: bool
    """True if gradients are rewritten before they are compiled, see `optimise`."""

    blocks: Literal["batched", "separate"]
    """Products of the sequence model's blocks: batched products are slow on CPUs, several times
    slower than one product for each block."""

    unroll: int
    """Steps of loops over time that are compiled as one, at most: on CPUs, where a step is long,
    more would only take longer to compile."""

    in_chunks: bool
    """True if pictures go through the networks a few at a time, which stay in a CPU's caches."""

    row_by_row: bool
    """True if the penalty takes one row after the other, for the same reason."""

    parallel_returns: bool
    """True if lambda-returns are computed for all steps together: a GPU takes longer to start one
    step of theirs than to compute all."""

    loops: Literal["whole", "split", "packed"]
    """Loops over time of gradients. whole: as they are written, for CPUs. split: what need not be
    done step by step is taken out of them. packed: what a step hands over is written in one piece
    besides, which several devices that share a batch would have to gather in every step."""

    @property
    def factors(self) -> str:
        """Dtype that factors of products are rounded to."""
        return "bfloat16" if self.precision == "mixed" else self.dtype


_described: contextvars.ContextVar[str | None] = contextvars.ContextVar("backend", default=None)


def backend() -> str:
    """Return the platform that programs are made for: cpu, gpu or tpu."""
    return _described.get() or jax.default_backend()


@contextlib.contextmanager
def made_for(platform: str) -> Iterator[None]:
    """Make programs, within this context, for a platform that need not be there."""
    token = _described.set(platform)
    try:
        yield
    finally:
        _described.reset(token)


def choose(
    precision: Literal["auto", "float32", "mixed", "bfloat16"],
    *,
    rewrite: bool,
    shared_batches: bool = False,
) -> Choices:
    """Choose for the device that programs are made for.

    Args:
        precision: What to compute in. auto: bfloat16 on a GPU or TPU; on a CPU mixed where it
            multiplies matrices of bfloat16 faster than those of float32, else float32.
        rewrite: Whether gradients may be rewritten, without which `auto` is never mixed.
        shared_batches: Whether several devices have a part of every batch each.
    """
    platform = backend()
    on_cpu = platform == "cpu"
    tiles = on_cpu and "amx_bf16" in _processor()
    if precision == "auto" and not on_cpu:
        precision = "bfloat16"
    elif precision == "auto":
        # Other CPUs multiply matrices of bfloat16 more slowly than those of float32.
        fast = tiles or "avx512_bf16" in _processor()
        precision = "mixed" if rewrite and fast else "float32"
    return Choices(
        backend=platform,
        precision=precision,
        dtype="bfloat16" if precision == "bfloat16" else "float32",
        tiles=tiles,
        rewrite=rewrite,
        blocks="separate" if on_cpu else "batched",
        unroll=1 if on_cpu else 5,
        in_chunks=on_cpu,
        row_by_row=on_cpu,
        parallel_returns=not on_cpu,
        loops="whole" if on_cpu else "split" if shared_batches else "packed",
    )


@functools.cache
def _processor() -> str:
    """Linux's description of the processor; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
