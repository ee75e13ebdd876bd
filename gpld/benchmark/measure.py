"""Time and memory of compiled functions, in turn and as ratios.

Absolute times mean little on shared machines. All functions of a benchmark run in turn, so
that whatever else the machine does meets all of them; and every time is also given in
units of one float32 product of 2048 x 2048 matrices on the same device, in the same run.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..errors import MachineError
from ..provenance import provenance

UNIT = "matmul_2048"

Functions = dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]
"""By name, a function of trees and its arguments."""


Progress = Callable[[str], None]
"""Is told what a benchmark is doing."""


class Measurement(NamedTuple):
    """Of one function."""

    seconds: list[float]
    """One number for each repetition."""

    compile_seconds: float
    temporary_bytes: int | None
    """Memory that the compiled program needs beside arguments and results; None where XLA
    does not tell."""

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return float(np.median(self.seconds))


@dataclasses.dataclass(frozen=True)
class Report:
    """What a benchmark has measured."""

    name: str
    settings: dict[str, Any]
    measurements: dict[str, Measurement]
    baseline: str
    """The measurement that ratios refer to."""

    def ratio(self, name: str) -> float:
        """Time relative to the baseline: the median of the ratios of each repetition."""
        baseline = self.measurements[self.baseline].seconds
        pairs = zip(self.measurements[name].seconds, baseline, strict=True)
        return float(np.median([seconds / base for seconds, base in pairs]))

    def memory_ratio(self, name: str) -> float | None:
        """Temporary memory relative to the baseline, where XLA tells."""
        baseline = self.measurements[self.baseline].temporary_bytes
        memory = self.measurements[name].temporary_bytes
        return memory / baseline if memory is not None and baseline else None

    def table(self) -> str:
        """The measurements as aligned text; ratios refer to the baseline."""
        unit = self.measurements[UNIT].median
        rows = [("", "ms", "units", "ratio", "compile s", "temporary MiB", "ratio")]
        for name, measured in self.measurements.items():
            memory, memory_ratio = measured.temporary_bytes, self.memory_ratio(name)
            rows.append(
                (
                    name,
                    f"{1e3 * measured.median:,.1f}",
                    f"{measured.median / unit:,.2f}",
                    f"{self.ratio(name):.3f}",
                    f"{measured.compile_seconds:.1f}",
                    "" if memory is None else f"{memory / 2**20:,.1f}",
                    "" if memory_ratio is None else f"{memory_ratio:.2f}",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        )

    def save(self, path: Path) -> None:
        """Writes everything as JSON, with the machine and the versions.

        Raises:
            MachineError: If the file cannot be written.
        """
        unit = self.measurements[UNIT].median
        results = {
            name: {
                "seconds": measured.seconds,
                "median_seconds": measured.median,
                "units": measured.median / unit,
                "ratio": self.ratio(name),
                "compile_seconds": measured.compile_seconds,
                "temporary_bytes": measured.temporary_bytes,
                "memory_ratio": self.memory_ratio(name),
            }
            for name, measured in self.measurements.items()
        }
        report = {
            "benchmark": self.name,
            "settings": self.settings,
            "baseline": self.baseline,
            **provenance(),
            "results": results,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            raise MachineError(f"Cannot write {path}: {error.strerror}.") from error


def measure(
    functions: Functions, *, repetitions: int, progress: Progress
) -> dict[str, Measurement]:
    """Compiles functions, then runs them in turn.

    Args:
        functions: By name, a function of trees and its arguments.
        repetitions: How often each is timed, after one call that is not.
        progress: Is told what happens.

    Returns:
        Measurements by name, that of the unit among them.
    """
    matrix = jnp.ones((2048, 2048))
    functions = {UNIT: (lambda x: x @ x, (matrix,)), **functions}
    compiled = {}
    for name, (function, args) in functions.items():
        progress(f"compiling {name}")
        compiled[name] = _compile(function, args)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 1):
        progress(f"round {repetition} of {repetitions}" + (" (not timed)" * (repetition == 0)))
        for name, (run, _, _) in compiled.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            if repetition > 0:
                seconds[name].append(time.perf_counter() - began)
    return {
        name: Measurement(seconds[name], compile_seconds, memory)
        for name, (_, compile_seconds, memory) in compiled.items()
    }


def _compile(
    function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Callable[[], Any], float, int | None]:
    """A call without arguments, the seconds of its compilation and its temporary bytes."""
    arrays, static = eqx.partition(args, eqx.is_array)
    jitted = jax.jit(
        lambda arrays: eqx.filter(function(*eqx.combine(arrays, static)), eqx.is_array)
    )
    began = time.perf_counter()
    program = jitted.lower(arrays).compile()
    compile_seconds = time.perf_counter() - began
    analysis = program.memory_analysis()
    memory = None if analysis is None else analysis.temp_size_in_bytes
    return (lambda: program(arrays)), compile_seconds, memory
