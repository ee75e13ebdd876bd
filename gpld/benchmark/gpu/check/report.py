"""The check as text."""

from collections.abc import Mapping
from typing import Any

from ...report import aligned


def table(report: Mapping[str, Any]) -> str:
    """Return all parts with their rows, each as an aligned table."""
    return "\n\n".join(_part(name, part) for name, part in report["parts"].items())


def _part(name: str, part: Mapping[str, Any]) -> str:
    reason = f": {part['reason']}" if part["reason"] else ""
    head = f"{name}: {part['status']} after {part['seconds']:.0f} s{reason}"
    rows = part["rows"]
    if not rows:
        return head
    columns = list(dict.fromkeys(column for figures in rows.values() for column in figures))
    cells = [("", *columns)]
    cells += [(name, *(_cell(f.get(column)) for column in columns)) for name, f in rows.items()]
    if columns == ["value"]:  # nothing but text
        cells = cells[1:]
    return f"{head}\n{aligned(cells)}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
