"""Reports of benchmarks: timings that were repeated in turn, and single figures."""

import dataclasses
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ..analysis.published import Published
from ..errors import MachineError
from ..machine.provenance import provenance
from .choices import choices

UNIT = "matmul_2048"


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """The quartiles."""
        return f"{self.low:.3g}-{self.high:.3g}"


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of several numbers."""
    low, median, high = (float(x) for x in np.percentile(values, (25, 50, 75)))
    return Spread(median, low, high)


class Memory(NamedTuple):
    """Bytes of a compiled program, as XLA plans them."""

    temporary: int
    """Beside arguments and results."""

    argument: int
    output: int


class Measurement(NamedTuple):
    """Timings of one function, and the memory that it takes."""

    seconds: list[float]
    """One number for each repetition."""

    baseline: str | None = None
    """The measurement that its ratio refers to, if there is one."""

    compile_seconds: float | None = None
    """Of lowered programs; None of what is not compiled."""

    memory: Memory | None = None
    """None where XLA does not tell."""


class Figure(NamedTuple):
    """A number that is not the time of a call."""

    value: float
    unit: str


@dataclasses.dataclass(frozen=True)
class Report:
    """Result of a benchmark."""

    name: str
    settings: Mapping[str, Any]
    measurements: Mapping[str, Measurement]
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Published] = dataclasses.field(default_factory=dict)
    """Ratios of the same things elsewhere, by the name of the measurement."""

    def units(self, name: str) -> Spread:
        """Time in medians of the unit."""
        unit = np.median(self.measurements[UNIT].seconds)
        return spread([seconds / unit for seconds in self.measurements[name].seconds])

    def ratio(self, name: str) -> Spread | None:
        """Time relative to the baseline, each repetition by itself; None without baseline."""
        measured = self.measurements[name]
        if measured.baseline is None:
            return None
        baseline = self.measurements[measured.baseline].seconds
        pairs = zip(measured.seconds, baseline, strict=True)
        return spread([seconds / base for seconds, base in pairs])

    def table(self) -> str:
        """Everything as aligned text; spreads are quartiles."""
        rows = [("", "ms", "units", "spread", "ratio", "spread", "compile s", "temp. MiB")]
        rows += [self._row(name) for name in self.measurements]
        if self.published:
            ratios = [self.published.get(name) for name in self.measurements]
            cells = ["paper", *("" if ratio is None else f"{ratio.mean:.2f}" for ratio in ratios)]
            rows = [(*row, cell) for row, cell in zip(rows, cells, strict=True)]
        figures = [(name, _number(f.value), f.unit) for name, f in self.figures.items()]
        chosen = {k: v for k, v in self.settings.items() if k == "precision"} | choices()
        lines = "\n".join(f"{name}: {value}" for name, value in chosen.items())
        return "\n\n".join([_aligned(rows), *([_aligned(figures)] * bool(figures)), lines])

    def save(self, path: Path) -> None:
        """Writes everything as JSON, with the machine and the versions.

        Raises:
            MachineError: If the file cannot be written.
        """
        report = {
            "benchmark": self.name,
            "settings": self.settings,
            "choices": choices(),
            **provenance(),
            "peak_memory": peak_memory(),
            "figures": {name: figure._asdict() for name, figure in self.figures.items()},
            "results": {name: self._result(name) for name in self.measurements},
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            raise MachineError(f"Cannot write {path}: {error.strerror}.") from error

    def _row(self, name: str) -> tuple[str, ...]:
        measured, units, ratio = self.measurements[name], self.units(name), self.ratio(name)
        compiled, memory = measured.compile_seconds, measured.memory
        return (
            name,
            f"{1e3 * np.median(measured.seconds):,.1f}",
            f"{units.median:.3g}",
            str(units),
            "" if ratio is None else f"{ratio.median:.3f}",
            "" if ratio is None else str(ratio),
            "" if compiled is None else f"{compiled:.1f}",
            "" if memory is None else f"{memory.temporary / 2**20:,.1f}",
        )

    def _result(self, name: str) -> dict[str, Any]:
        measured, units, ratio = self.measurements[name], self.units(name), self.ratio(name)
        memory, published = measured.memory, self.published.get(name)
        return {
            "seconds": measured.seconds,
            "median_seconds": float(np.median(measured.seconds)),
            "units": units.median,
            "units_quartiles": [units.low, units.high],
            "baseline": measured.baseline,
            "ratio": None if ratio is None else ratio.median,
            "ratio_quartiles": None if ratio is None else [ratio.low, ratio.high],
            "published_ratio": None if published is None else published._asdict(),
            "compile_seconds": measured.compile_seconds,
            "temporary_bytes": None if memory is None else memory.temporary,
            "argument_bytes": None if memory is None else memory.argument,
            "output_bytes": None if memory is None else memory.output,
        }


def peak_memory() -> dict[str, int | None]:
    """Most bytes that this process has had in memory so far, and that it had on the device."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statistics = jax.devices()[0].memory_stats() or {}  # CPUs have none
    return {
        "host_bytes": host_bytes(peak),
        "device_bytes": statistics.get("peak_bytes_in_use"),
    }


def host_bytes(maxrss: int) -> int:
    """Bytes of what the system calls the largest resident set size."""
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )
