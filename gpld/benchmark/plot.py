"""A picture of what updates cost here, beside what was published."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.published.costs import AUTHORS, AUTHORS_RATIO, AUTHORS_UNITS, PAPER_RANGE
from ..errors import UsageError
from ..machine.files import read_json, writing
from .report import UNIT

_OURS, _THEIRS, _MARKS = "C0", "0.7", "0.45"


def plot(folder: Path, path: Path) -> None:
    """Draws the results in a folder: `update.json`, and `table4.json` where there is one.

    Args:
        folder: Where `scripts/benchmark.py` has written them.
        path: The picture.

    Raises:
        UsageError: If the folder holds no results of updates.
        MachineError: If the picture cannot be written.
    """
    try:
        update = read_json(folder / "update.json")
        table4 = folder / "table4.json"
        rows = read_json(table4).get("results") if table4.exists() else None
    except UsageError as error:
        raise UsageError(f"`--results` must name a folder with results: {error}") from error
    try:
        figure = _draw(update, rows)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{folder} does not hold results of updates ({reason}).") from error
    with writing(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)


def _draw(update: dict[str, Any], rows: Any) -> Figure:
    figure = Figure(figsize=(13 if rows else 9, 4), layout="constrained")
    axes = figure.subplots(1, 3 if rows else 2)
    _units(axes[0], update["results"])
    _ratios(axes[1], update["results"])
    if rows:
        _table4(axes[2], rows)
    for part in axes:
        part.invert_yaxis()
        part.title.set_fontsize("medium")
        part.xaxis.label.set_fontsize("small")
        part.spines[["top", "right"]].set_visible(False)
    processor, cores = update["machine"]["processor"], update["machine"]["cores"]
    on = f"{cores} core{'s' * (cores > 1)} of {processor or update['machine']['devices'][0]}"
    figure.suptitle(f"size {update['settings']['size']}, {on}", fontsize="medium")
    figure.supxlabel(
        f"dots, dark bars: ours; grey: {AUTHORS}; diamonds: the paper's Table 4", fontsize="small"
    )
    return figure


def _units(axes: Axes, results: dict[str, Any]) -> None:
    """Updates in units of a matrix product, ours below theirs."""
    ours = {name: result for name, result in results.items() if name != UNIT}
    units = [result["units"] for result in ours.values()]
    theirs = list(AUTHORS_UNITS.values())
    axes.barh([f"{name}, authors" for name in AUTHORS_UNITS], theirs, color=_THEIRS)
    axes.barh(list(ours), units, color=_OURS)
    whiskers = _whiskers(ours, "units")
    axes.errorbar(units, list(ours), xerr=whiskers, fmt="none", color="black", capsize=2)
    ends = [*theirs, *np.add(units, whiskers[1])]
    for i, (value, end) in enumerate(zip([*theirs, *units], ends, strict=True)):
        axes.annotate(f"{value:.0f}", (end, i), (4, 0), textcoords="offset points", va="center")
    axes.set(title="one update", xlabel="units: float32 products of 2048 x 2048 on the same cores")


def _ratios(axes: Axes, results: dict[str, Any]) -> None:
    """Updates with penalty over those without, in the same precision."""
    ours = {
        name: result
        for name, result in results.items()
        if result["baseline"] not in (None, name) and not name.startswith("vanilla")
    }
    axes.plot([AUTHORS_RATIO], ["GPLD, authors"], "s", color=_MARKS)
    axes.plot(PAPER_RANGE, ["rho 0.5, paper"] * 2, "D-", color=_MARKS, markerfacecolor="white")
    _ours(axes, ours)
    axes.set(title="with penalty", xlabel="time over that of the update without")


def _table4(axes: Axes, results: dict[str, Any]) -> None:
    """Every row of the table, theirs and ours."""
    rows = {
        _short(name): row for name, row in results.items() if row["published_ratio"] is not None
    }
    axes.errorbar(
        [row["published_ratio"]["mean"] for row in rows.values()],
        list(rows),
        xerr=[row["published_ratio"]["std"] for row in rows.values()],
        fmt="D",
        color=_MARKS,
        markerfacecolor="white",
    )
    _ours(axes, rows)
    xlabel = "time over that of the baseline"
    axes.set(title="Table 4", xlabel=xlabel, ylabel="rho; posterior, prior")


def _ours(axes: Axes, results: dict[str, Any]) -> None:
    """Our ratios with their quartiles, beside a line where nothing is added."""
    ratios = [result["ratio"] for result in results.values()]
    axes.errorbar(ratios, list(results), xerr=_whiskers(results, "ratio"), fmt="o", color=_OURS)
    axes.axvline(1, color="black", linewidth=0.8)


def _whiskers(results: dict[str, Any], name: str) -> np.ndarray:
    """Distances from the median to the quartiles, below and above."""
    spreads = [np.subtract(r[f"{name}_quartiles"], r[name]) for r in results.values()]
    return np.abs(spreads).T


def _short(name: str) -> str:
    """A row's three numbers."""
    rho, posterior, prior = (part.rpartition(" ")[2] for part in name.split(", "))
    return f"{rho}; {posterior}, {prior}"
