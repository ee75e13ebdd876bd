"""The command `reproduce`: a table or figure of the paper, from training to the report."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from ..analysis.scores import read_runs
from ..cli import one_line_errors
from ..config.flags import parse
from ..errors import MachineError, UsageError
from ..machine.files import check_folder
from ..sweep.paper import EXPERIMENTS, SCALES, Experiment, choices
from . import benchmark, sensitivity, sweep
from .plot import PlotArgs, compare
from .sweep import HowToRun

_Table = Literal["table1", "table3", "table4"]
_Figure = Literal[
    "figure2", "figure3", "figure4", "figure5", "figure6", "figure7", "figure8", "figure9"
]
_TABLE4 = {"paper": (), "small": ("--preset", "small"), "tiny": ("--preset", "debug")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceArgs(HowToRun):
    """Make a table or figure of the paper: train what is missing, then write a report."""

    what: tyro.conf.Positional[Literal[_Table, _Figure]]
    """Which one. table4 times updates on this machine; all others train agents."""

    scale: Literal["paper", "small", "tiny"] = "paper"
    """paper: as it is in the paper. small: three tasks and seeds, the preset small, 30,000 env
    steps. tiny: two tasks and seeds that learn nothing, to see that all of it works. What is
    scaled down says so."""

    out: Path | None = None
    """Folder for runs and report; None takes `runs/reproduce/` and the names of both."""


def main(args: Sequence[str] | None = None) -> None:
    """Make the table or figure that the arguments name."""
    with one_line_errors():
        options: ReproduceArgs = parse(ReproduceArgs, sys.argv[1:] if args is None else args)
        root = options.out
        if root is None:
            root = Path("runs") / "reproduce" / f"{options.what}-{options.scale}"
        if options.what == "table4":
            _table4(options, root)
        else:
            _reproduce(EXPERIMENTS[options.what], root, options)


def _reproduce(full: Experiment, root: Path, options: ReproduceArgs) -> None:
    """Train, then report on what there is, also if some jobs failed."""
    if not options.dry_run:
        check_folder(root / "report")
    experiment, stamp = full, None
    if options.scale != "paper":
        experiment = full.scaled(SCALES[options.scale])
        stamp = experiment.stamp(full, options.scale)
        print(stamp, flush=True)
    report = PlotArgs(runs=(root / "runs",), out=root / "report", source=experiment.source)
    failed: MachineError | None = None
    for folder, stage in experiment.stages(root):
        try:
            sweep.run(stage, folder, options)
        except MachineError as error:
            failed = failed or error
    if not options.dry_run:
        try:
            pictures: list[Path] = []
            if options.what == "figure9":
                pictures = _sensitivities(root / "runs", report.out / "sensitivities", stamp)
            own = choices(experiment)
            compare(report, title=full.title, stamp=stamp, choices=own, pictures=pictures)
        except UsageError:
            if failed is None:  # else the failures are the reason that nothing can be compared
                raise
    if failed is not None:
        raise failed


def _sensitivities(runs: Path, picture: Path, stamp: str | None) -> list[Path]:
    """Measure every run that has not been measured, and draw all of them."""
    from ..analysis.sensitivity_curves import draw_sensitivities  # as in `plot.compare`

    states = () if stamp is None else ("--states", "50")
    measured = read_runs([runs], unreadable=lambda line: print(line, flush=True))
    for run in measured:
        if not (run.path / "sensitivity.json").exists():
            sensitivity.main([str(run.path), *states])
    return draw_sensitivities(measured, picture, baseline="DreamerV3", stamp=stamp)


def _table4(options: ReproduceArgs, root: Path) -> None:
    """Time the update of every row, beside the paper's ratios."""
    flags = [*_TABLE4[options.scale], "--out", str(root / "table4.json")]
    if options.dry_run:
        print(f"python scripts/benchmark.py table4 {shlex.join(flags)}", flush=True)
        return
    check_folder(root)
    benchmark.main(["table4", *flags])
    print("The paper's ratios are of whole runs on a GPU; these are of updates on this machine.")
