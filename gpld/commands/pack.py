"""The command `pack`: puts what runs have measured into one small file."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from ..analysis.packed import pack
from ..cli import one_line_errors
from ..config.flags import parse


@dataclasses.dataclass(frozen=True)
class PackArgs:
    """Pack settings, versions, metrics and scores of runs, without checkpoints and pictures.

    `scripts/plot.py` takes such a file for the folder that it was made from.
    """

    runs: tyro.conf.Positional[Path]
    """Folder of a sweep, or any other that holds runs."""

    file: tyro.conf.Positional[Path]
    """File to write, whose name ends in .json.gz."""


def main(args: Sequence[str] | None = None) -> None:
    """Pack the runs that the arguments name."""
    with one_line_errors():
        options: PackArgs = parse(PackArgs, sys.argv[1:] if args is None else args)
        warn = lambda line: print(f"warning: {line}", file=sys.stderr, flush=True)  # noqa: E731
        count = pack(options.runs, options.file, unreadable=warn)
        size = options.file.stat().st_size / 1024
        print(f"packed {count} runs into {options.file}, {size:,.0f} KiB", flush=True)
