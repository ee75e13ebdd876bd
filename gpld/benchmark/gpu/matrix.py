"""Matrices of GPU programs: every row compiled in a process of its own."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import MachineError, UsageError
from ...machine.provenance import provenance
from ...machine.subprocesses import python_command, python_environment
from ..measure import progress
from ..report import aligned, write_report
from .card import CARD, XLA_FLAGS, check_plugin
from .rows import Row

# Compiling one takes a minute or two; the simulation of a humanoid is the longest.
_SECONDS = 3600

CHECKOUT = Path(__file__).parents[3]
"""The checkout, of which only this package is there where it was installed from a wheel."""

MATRIX = CHECKOUT / "benchmarks" / "h100_described" / "gpu-program.json"
"""The matrix as it was compiled last."""

_CODE = "from gpld.benchmark.gpu.row import main; main()"


def compile_matrix(name: str, rows: Iterable[Row], names: Sequence[str], file: Path | None) -> str:
    """Compile the rows with these names, or all, each in a process of its own.

    Args:
        name: Name of the matrix.
        rows: Its rows.
        names: Names of rows.
        file: JSON file that each row is written to as soon as it is compiled; others that it
            has stay. None writes nothing.

    Returns:
        The rows as aligned text.

    Raises:
        UsageError: If a name is not that of a row.
        MachineError: If JAX's CUDA plugin is missing, or the file cannot be written or holds
            something else.
    """
    by_name = {row.name: row for row in rows}
    if unknown := sorted(set(names) - by_name.keys()):
        known = ", ".join(by_name)
        raise UsageError(f"`rows` must be rows of the matrix, got {unknown[0]!r}; it has {known}.")
    check_plugin()
    stored = {} if file is None else _read(file)
    cells: list[tuple[str, ...]] = [
        ("", "launches", "host reads", "temp. MiB", "arg. MiB", "compile s", "")
    ]
    for row in names or by_name:
        progress(f"compiling {row}")
        about = {"commit": provenance()["commit"], "xla_flags": _xla_flags()}
        stored[row] = about | _compile_apart(by_name[row])
        cells.append(_cells(row, stored[row]))
        if file is not None:
            ordered = {row: stored[row] for row in by_name if row in stored}
            write_report(file, name, {"card": CARD, "rows": ordered})
    return aligned(cells)


def _read(file: Path) -> dict[str, Any]:
    """Return the rows that a file has; none if there is no file."""
    try:
        return json.loads(file.read_text())["rows"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise MachineError(f"{file} holds no matrix of GPU programs ({error!r}).") from error


def _cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return (name, "", "", "", "", "", row["error"])
    sizes = (row["temporaries"] / 2**20, row["arguments"] / 2**20)
    seconds = row["trace_seconds"] + row["compile_seconds"]
    numbers = (row["launches"], row["host_reads"], *sizes, seconds)
    return (name, *("" if number is None else f"{number:,.0f}" for number in numbers), "")


def _xla_flags() -> str:
    """Return the options of XLA for every row: those that are set here, and what it needs."""
    return " ".join([*os.environ.get("XLA_FLAGS", "").split(), *XLA_FLAGS])


def _compile_apart(row: Row) -> dict[str, Any]:
    """Compile a row in a process of its own, which may be killed or crash."""
    try:
        ended = subprocess.run(
            [*python_command(_CODE), json.dumps(row)],
            env=python_environment(JAX_PLATFORMS="cpu", XLA_FLAGS=_xla_flags()),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"was not compiled within {_SECONDS:,} s"}
    if ended.returncode == 0:
        return json.loads(ended.stdout.splitlines()[-1])
    # JAX adds a notice of its own below the error.
    named = re.findall(r"^[\w.]+(?:Error|Failure)\b.*", ended.stderr, flags=re.MULTILINE)
    return {"error": named[-1] if named else f"exit code {ended.returncode}"}
