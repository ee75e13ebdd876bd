"""The command `replay-update`: repeats an update that was not finite."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import tyro

from ..cli import one_line_errors
from ..config.flags import parse
from ..xla.cache import cache_compilations


@dataclasses.dataclass(frozen=True)
class ReplayUpdateArgs:
    """Repeat an update that stopped a run, and say where its numbers are not finite."""

    fault: tyro.conf.Positional[Path]
    """Folder that the run left, under `faults/`."""

    debug_nans: bool = False
    """Whether to stop with a traceback at the operation that makes the first NaN."""


def main(args: Sequence[str] | None = None) -> None:
    """Repeat the update that the arguments name."""
    with one_line_errors():
        options: ReplayUpdateArgs = parse(ReplayUpdateArgs, sys.argv[1:] if args is None else args)
        from ..training import failed_updates  # it takes a second, and `--help` needs none of it

        cache_compilations()
        jax.config.update("jax_debug_nans", options.debug_nans)
        print("\n".join(failed_updates.examine(options.fault)))
