"""Times of functions, taken in turn.

Absolute times mean little on shared machines. All functions of a benchmark run in turn, so
that whatever else the machine does meets all of them, and before each of them runs the unit:
one float32 product of 2048 x 2048 matrices on the same device.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .report import UNIT, Measurement, Memory


class Case(NamedTuple):
    """Case of a benchmark: a function to be timed."""

    function: Callable[..., Any]
    args: tuple[Any, ...] | None
    """Trees that `function` is compiled for; None if it takes nothing and is no program of
    JAX."""

    baseline: str | None = None
    """The case that its ratio refers to."""

    calls: int = 1
    """Calls in a row, of which the mean is taken."""


def measure(cases: Mapping[str, Case], *, repetitions: int) -> dict[str, Measurement]:
    """Compiles functions, then runs them in turn.

    Args:
        cases: What is timed, by name.
        repetitions: How often each is timed, after one round that is not.

    Returns:
        Measurements by name, that of the unit first.
    """
    unit, measured = _compile(Case(lambda x: x @ x, (jnp.ones((2048, 2048), jnp.float32),)))
    runs, measurements = {}, {UNIT: measured}
    for name, case in cases.items():
        if case.args is not None:
            progress(f"compiling {name}")
        runs[name], measurements[name] = _compile(case)
    for repetition in range(repetitions + 1):
        progress(f"round {repetition} of {repetitions}" + (" (not timed)" * (repetition == 0)))
        units, times = [mean_seconds(unit)], {}
        for name, case in cases.items():
            units.append(mean_seconds(unit))
            times[name] = mean_seconds(runs[name], case.calls)
        if repetition > 0:
            for name, value in {UNIT: float(np.mean(units)), **times}.items():
                measurements[name].seconds.append(value)
    return measurements


def progress(line: str) -> None:
    """Say on stderr what a benchmark is doing."""
    print(line, file=sys.stderr, flush=True)


def mean_seconds(run: Callable[[], Any], calls: int = 1) -> float:
    """Mean seconds of several calls, until what they return is there."""
    began = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - began) / calls


def _compile(case: Case) -> tuple[Callable[[], Any], Measurement]:
    """Return a case as it can be run, and its measurement without times."""
    if case.args is None:
        return case.function, Measurement([], case.baseline)
    arrays, static = eqx.partition(case.args, eqx.is_array)
    function = lambda arrays: case.function(*eqx.combine(arrays, static))  # noqa: E731
    jitted = jax.jit(lambda arrays: eqx.filter(function(arrays), eqx.is_array))
    began = time.perf_counter()
    program = jitted.lower(arrays).compile()
    seconds = time.perf_counter() - began
    memory = _memory(program.memory_analysis())
    return lambda: program(arrays), Measurement([], case.baseline, seconds, memory)


def _memory(analysis: Any) -> Memory:
    if analysis is None:
        return Memory()
    return Memory(
        analysis.temp_size_in_bytes,
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes,
    )
