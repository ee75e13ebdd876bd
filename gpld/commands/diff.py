"""The command `diff`: settings of presets and runs, side by side."""

import dataclasses
import difflib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import tyro

from ..analysis.packed import unpacked
from ..analysis.scores import find_runs
from ..cli import one_line_errors
from ..config import Config, flatten
from ..config.flags import parse
from ..config.meanings import meanings
from ..config.presets import PRESETS
from ..errors import UsageError
from ..machine.output import show
from ..runs.folder import RunFolder
from ..runs.zoo import is_of_zoo, open_run

_NAMES = ("preset", "run", "resume")  # of settings that only say where the others come from
_GAP = "   "


@dataclasses.dataclass(frozen=True)
class DiffArgs:
    """Show the settings in which two presets or runs differ, and what these settings mean.

    Each is the name of a preset, a folder with one run or several (`./NAME` if a preset has the
    same name), or a file of `scripts/pack.py`. Of several runs all values are shown.
    """

    first: tyro.conf.Positional[str]
    """What is compared, such as paper."""

    second: tyro.conf.Positional[str | None] = None
    """What it is compared with, such as authors; None takes the preset that the first began
    with."""


def main(args: Sequence[str] | None = None) -> None:
    """Compare the settings of what the arguments name."""
    with one_line_errors():
        options: DiffArgs = parse(DiffArgs, sys.argv[1:] if args is None else args)
        first = _settings(options.first)
        name = first[0].preset if options.second is None else options.second
        second = _settings(name)
        show(side_by_side((options.first, name), (first, second)))


def side_by_side(names: Sequence[str], sides: Sequence[Sequence[Config]]) -> str:
    """Return a table of what differs, with the meaning of each setting below it.

    Args:
        names: What is compared.
        sides: The settings of each, one or more.
    """
    columns = [_values(configs) for configs in sides]
    differing = [
        name
        for name in columns[0]
        if name not in _NAMES and any(own[name] != columns[0][name] for own in columns[1:])
    ]
    if not differing:
        return f"{' and '.join(names)} have the same settings."
    rows = [["", *names], *([name, *(own[name] for own in columns)] for name in differing)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    explained, width = meanings(), shutil.get_terminal_size().columns
    lines = []
    for row in rows:
        cells = (cell.ljust(size) for cell, size in zip(row, widths, strict=True))
        lines.append(_GAP.join(cells).rstrip())
        if row[0]:
            meaning = textwrap.wrap(explained[row[0]], width - len(_GAP))
            lines += [_GAP + line for line in meaning]
    return "\n".join(lines)


def _values(configs: Sequence[Config]) -> dict[str, str]:
    """Return every setting as text; several values of one are all there."""
    flat = [flatten(config) for config in configs]
    return {name: ", ".join(dict.fromkeys(str(own[name]) for own in flat)) for name in flat[0]}


def _settings(name: str) -> list[Config]:
    """Return the settings of a preset, or of the runs of a folder or packed file.

    Raises:
        UsageError: If there is nothing of this name.
    """
    if name in PRESETS:
        return [PRESETS[name]]
    if is_of_zoo(name):
        return [open_run(name).config()]
    path = Path(name)
    if not os.path.exists(path):
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise UsageError(
            f"There is no preset, run folder or packed file {name!r}{hint} Presets are "
            f"{', '.join(PRESETS)}."
        )
    with unpacked([path]) as (root,):
        runs = list(find_runs(root))
        if not runs:
            raise UsageError(f"{name} holds no run folder.")
        return [RunFolder(run).config() for run in runs]
