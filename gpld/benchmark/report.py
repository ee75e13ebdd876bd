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
from ..machine.files import writing
from ..machine.provenance import provenance
from .choices import choices

UNIT = "matmul_2048"


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: np.ndarray) -> Spread:
    """Median and quartiles of several numbers."""
    low, median, high = np.percentile(values, (25, 50, 75)).tolist()
    return Spread(median, low, high)


class Memory(NamedTuple):
    """Bytes of a compiled program, as XLA plans them; None where it does not tell."""

    temporary_bytes: int | None = None
    """Beside arguments and results."""

    argument_bytes: int | None = None
    output_bytes: int | None = None


class Measurement(NamedTuple):
    """Timings of one function, and the memory that it takes."""

    seconds: list[float]
    """One number for each repetition."""

    baseline: str | None = None
    """The measurement that its ratio refers to, if there is one."""

    compile_seconds: float | None = None
    """Of lowered programs; None of what is not compiled."""

    memory: Memory = Memory()

    @property
    def median_seconds(self) -> float:
        """Median over the repetitions."""
        return float(np.median(self.seconds))


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
        unit = self.measurements[UNIT].median_seconds
        return spread(np.divide(self.measurements[name].seconds, unit))

    def ratio(self, name: str) -> Spread | None:
        """Time relative to the baseline, each repetition by itself; None without baseline."""
        seconds, baseline, *_ = self.measurements[name]
        if baseline is None:
            return None
        return spread(np.divide(seconds, self.measurements[baseline].seconds))

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
        return "\n\n".join([aligned(rows), *([aligned(figures)] * bool(figures)), lines])

    def save(self, path: Path) -> None:
        """Writes everything as JSON, with the machine and the versions.

        Raises:
            MachineError: If the file cannot be written.
        """
        results = {
            "settings": self.settings,
            "choices": choices(),
            "peak_memory": peak_memory(),
            "figures": {name: figure._asdict() for name, figure in self.figures.items()},
            "results": {name: self._result(name) for name in self.measurements},
        }
        write_report(path, self.name, results)

    def _row(self, name: str) -> tuple[str, ...]:
        measured, units, ratio = self.measurements[name], self.units(name), self.ratio(name)
        compiled, temporary = measured.compile_seconds, measured.memory.temporary_bytes
        return (
            name,
            f"{1e3 * measured.median_seconds:,.1f}",
            f"{units.median:.3g}",
            f"{units.low:.3g}-{units.high:.3g}",
            f"{ratio.median:.3f}" if ratio else "",
            f"{ratio.low:.3g}-{ratio.high:.3g}" if ratio else "",
            "" if compiled is None else f"{compiled:.1f}",
            "" if temporary is None else f"{temporary / 2**20:,.1f}",
        )

    def _result(self, name: str) -> dict[str, Any]:
        measured, units, ratio = self.measurements[name], self.units(name), self.ratio(name)
        published = self.published.get(name)
        return {
            "seconds": measured.seconds,
            "median_seconds": measured.median_seconds,
            "units": units.median,
            "units_quartiles": units[1:],
            "baseline": measured.baseline,
            "ratio": ratio and ratio.median,
            "ratio_quartiles": ratio and ratio[1:],
            "published_ratio": published and published._asdict(),
            "compile_seconds": measured.compile_seconds,
            **measured.memory._asdict(),
        }


def write_report(path: Path, name: str, results: Mapping[str, Any]) -> None:
    """Write results as JSON, with the machine and the versions.

    Raises:
        MachineError: If the file cannot be written.
    """
    report = {"benchmark": name, **provenance(), **results}
    with writing(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")


def peak_memory() -> dict[str, int | None]:
    """Most bytes that this process has had in memory so far, and that it had on the device."""
    host = host_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    statistics = jax.devices()[0].memory_stats() or {}  # CPUs have none
    return {"host_bytes": host, "device_bytes": statistics.get("peak_bytes_in_use")}


def host_bytes(maxrss: int) -> int:
    """Bytes of what the system calls the largest resident set size."""
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Align cells in columns, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )
