"""Times of functions, taken in turn.

Absolute times mean little on shared machines. All functions of a benchmark run in turn, so
that whatever else the machine does meets all of them, and before each of them runs the unit:
one float32 product of 2048 x 2048 matrices on the same device.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .report import UNIT, Measurement, Memory

Progress = Callable[[str], None]
"""Is told what a benchmark is doing."""


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


class _Ready(NamedTuple):
    """A case that can run."""

    run: Callable[[], Any]
    compile_seconds: float | None
    memory: Memory | None


def measure(
    cases: Mapping[str, Case], *, repetitions: int, progress: Progress
) -> dict[str, Measurement]:
    """Compiles functions, then runs them in turn.

    Args:
        cases: What is timed, by name.
        repetitions: How often each is timed, after one round that is not.
        progress: Is told what happens.

    Returns:
        Measurements by name, that of the unit first.
    """
    unit = _compile(Case(lambda x: x @ x, (jnp.ones((2048, 2048), jnp.float32),)))
    ready: dict[str, _Ready] = {}
    for name, case in cases.items():
        if case.args is not None:
            progress(f"compiling {name}")
        ready[name] = _compile(case)
    seconds: dict[str, list[float]] = {name: [] for name in (UNIT, *cases)}
    for repetition in range(repetitions + 1):
        progress(f"round {repetition} of {repetitions}" + (" (not timed)" * (repetition == 0)))
        units = [mean_seconds(unit.run)]
        times = {}
        for name, case in cases.items():
            units.append(mean_seconds(unit.run))
            times[name] = mean_seconds(ready[name].run, case.calls)
        if repetition > 0:
            for name, value in {UNIT: float(np.mean(units)), **times}.items():
                seconds[name].append(value)
    return {
        UNIT: Measurement(seconds[UNIT], None, unit.compile_seconds, unit.memory),
        **{
            name: Measurement(
                seconds[name], case.baseline, ready[name].compile_seconds, ready[name].memory
            )
            for name, case in cases.items()
        },
    }


def mean_seconds(run: Callable[[], Any], calls: int = 1) -> float:
    """Mean seconds of several calls, until what they return is there."""
    began = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - began) / calls


def _compile(case: Case) -> _Ready:
    if case.args is None:
        return _Ready(case.function, None, None)
    arrays, static = eqx.partition(case.args, eqx.is_array)
    function = lambda arrays: case.function(*eqx.combine(arrays, static))  # noqa: E731
    jitted = jax.jit(lambda arrays: eqx.filter(function(arrays), eqx.is_array))
    began = time.perf_counter()
    program = jitted.lower(arrays).compile()
    compile_seconds = time.perf_counter() - began
    return _Ready(lambda: program(arrays), compile_seconds, _memory(program))


def _memory(program: Any) -> Memory | None:
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    return Memory(
        analysis.temp_size_in_bytes,
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes,
    )
