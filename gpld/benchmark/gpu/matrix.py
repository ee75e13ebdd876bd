"""Matrix of GPU programs: every row compiled in a process of its own."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import MachineError, UsageError
from ...machine.subprocesses import python_command, python_environment
from ..measure import progress
from ..report import aligned, write_report
from .card import CARD, XLA_FLAGS, check_plugin
from .rows import Row, matrix_rows

# Compiling one takes a minute or two; the simulation of a humanoid is the longest.
_SECONDS = 3600

_CODE = "from gpld.benchmark.gpu.row import main; main()"


class Matrix:
    """The rows that were compiled, by name.

    Attributes:
        rows: What `row.compile_row` returns, or `error` with the reason.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]):
        """Take over the rows."""
        self.rows = rows

    def table(self) -> str:
        """Return the rows as aligned text."""
        cells = [("", "launches", "host reads", "temp. MiB", "arg. MiB", "compile s", "")]
        cells += [_cells(name, row) for name, row in self.rows.items()]
        return aligned(cells)

    def save(self, path: Path) -> None:
        """Write the rows as JSON; others that the file has stay, in the order of the matrix.

        Raises:
            MachineError: If the file cannot be written, or holds something else.
        """
        before = {}
        if path.exists():
            try:
                before = json.loads(path.read_text())["rows"]
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise MachineError(
                    f"{path} holds no matrix of GPU programs ({error!r})."
                ) from error
        found = {**before, **self.rows}
        names = [row.name for row in matrix_rows() if row.name in found]
        write_report(path, "gpu-program", {"card": CARD, "rows": {k: found[k] for k in names}})


def compile_matrix(names: Sequence[str]) -> Matrix:
    """Compile the rows with these names, or all, each in a process of its own.

    Args:
        names: Names of rows.

    Raises:
        UsageError: If a name is not that of a row.
        MachineError: If JAX's CUDA plugin is missing.
    """
    by_name = {row.name: row for row in matrix_rows()}
    if unknown := sorted(set(names) - by_name.keys()):
        known = ", ".join(by_name)
        raise UsageError(f"`rows` must be rows of the matrix, got {unknown[0]!r}; it has {known}.")
    check_plugin()
    results = {}
    for name in names or by_name:
        progress(f"compiling {name}")
        results[name] = _compile_apart(by_name[name])
    return Matrix(results)


def _cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return (name, "", "", "", "", "", row["error"])
    sizes = (row["temporaries"] / 2**20, row["arguments"] / 2**20)
    seconds = row["trace_seconds"] + row["compile_seconds"]
    numbers = (row["launches"], row["host_reads"], *sizes, seconds)
    return (name, *(f"{number:,.0f}" for number in numbers), "")


def _compile_apart(row: Row) -> dict[str, Any]:
    """Compile a row in a process of its own, which may be killed or crash."""
    try:
        ended = subprocess.run(
            [*python_command(_CODE), json.dumps(row)],
            env=python_environment(JAX_PLATFORMS="cpu", XLA_FLAGS=" ".join(XLA_FLAGS)),
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
