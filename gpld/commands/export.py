"""The command `export`: a small folder with the agent of a run."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from ..checkpoints.export import export
from ..cli import one_line_errors
from ..config.flags import parse
from ..runs.zoo import open_run


@dataclasses.dataclass(frozen=True)
class ExportArgs:
    """Write the agent of a run into a small folder, to share it or to keep it.

    It holds networks, settings, versions and evaluations, with checksums; not the replay and the
    optimiser, so that training cannot be resumed from it. `gpld evaluate` and `gpld.load` take
    it for the folder of the run, and `--init.from` for networks to begin with.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run; `zoo:NAME` is an agent that comes with the package."""

    folder: tyro.conf.Positional[Path]
    """Folder to write, which must be new."""

    env_step: int | None = None
    """Checkpoint to take, by env step; None takes the latest."""


def main(args: Sequence[str] | None = None) -> None:
    """Export the agent that the arguments name."""
    with one_line_errors():
        options: ExportArgs = parse(ExportArgs, sys.argv[1:] if args is None else args)
        exported = export(open_run(options.run), options.folder, options.env_step)
        (path,) = exported.checkpoint_paths()
        size = sum(file.stat().st_size for file in options.folder.rglob("*") if file.is_file())
        print(
            f"wrote the agent of {options.run} after {int(path.name):,} env steps to "
            f"{options.folder}, {size / 2**20:.1f} MiB",
            flush=True,
        )
