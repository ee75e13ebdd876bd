"""The command `prediction-study`: whether the penalty makes world models predict better."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ..cli import one_line_errors
from ..config.checks import Bound, at_least
from ..config.flags import parse
from ..config.presets import PRESETS
from ..envs import is_own
from ..errors import MachineError, UsageError
from ..machine.files import check_folder, write_bytes, writing
from ..machine.output import show
from ..runs.zoo import open_run
from ..sweep import plan
from . import sweep
from .sweep import HowToRun

_ON_HOST = [
    name
    for name, config in PRESETS.items()
    if config.loop == "host" and config.env.observations == "vectors"
]
_PRESET = Bound(f"one of {', '.join(_ON_HOST)}", lambda name: name in _ON_HOST)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionStudyArgs(HowToRun):
    """Train world models on few recorded frames, and compare what they predict.

    Records episodes, trains world models alone with and without the penalty, measures them on
    held-out episodes, and writes tables and pictures. The same command goes on where it stopped.
    """

    agents: tyro.conf.Positional[tuple[str, ...]] = ("zoo:cartpole_swingup",)
    """Agents that record the episodes, one of each task: `zoo:NAME`, or folders of runs."""

    preset: Annotated[str, _PRESET] = "small"
    """Sizes of the networks, and all else that the arms have in common."""

    seeds: Annotated[int, at_least(1)] = 5
    """Seeds of each arm."""

    env_steps: Annotated[int, at_least(1)] = 20_000
    """How long a world model learns, as if so many env steps were collected."""

    out: Path = Path("runs/prediction_study")
    """Folder of episodes, runs and report."""


def main(args: Sequence[str] | None = None) -> None:
    """Run what is missing of the study, then write its report."""
    with one_line_errors():
        options: PredictionStudyArgs = parse(
            PredictionStudyArgs, sys.argv[1:] if args is None else args
        )
        # Imported here: they take a second, and `--help` and mistakes need none of it.
        from ..sweep.prediction_study import Study, make_data, measure_run
        from ..xla.cache import cache_compilations

        agents = {open_run(name).config().task: name for name in options.agents}
        if len(agents) < max(1, len(options.agents)):
            raise UsageError("`agents` must name agents of different tasks, and at least one.")
        if own := next(filter(is_own, agents), None):
            raise UsageError(f"`agents` must have played tasks of DeepMind Control, got {own}.")
        study = Study(options.out, agents, options.preset, options.seeds, options.env_steps)
        for folder, grid in study.sweeps():
            plan(grid, folder)  # so that wrong settings end before anything is written
        if not options.dry_run:
            check_folder(options.out / "report")
            cache_compilations()
            make_data(study, show)
        failed: MachineError | None = None
        for folder, own in study.sweeps():
            try:
                sweep.run(own, folder, options)
            except MachineError as error:
                failed = failed or error
            if options.dry_run:
                continue
            for job in plan(own, folder):
                if job.trained:
                    measure_run(study, job.path, own.tasks[0], int(folder.name))
        if not options.dry_run:
            _report(options.out)
        if failed is not None:
            raise failed


def _report(root: Path) -> None:
    """Write tables and pictures of what has been measured so far."""
    from ..analysis.prediction_report import (
        answer,
        draw_predictions_study,
        prediction_tables,
        read_measured,
    )

    measured = read_measured(root / "runs")
    sentences = answer(measured)
    tables = "\n".join(table.markdown() for table in prediction_tables(measured))
    lines = "\n".join(f"- {sentence}" for sentence in sentences)
    with writing(root / "report"):
        write_bytes(root / "report" / "predictions.md", f"{lines}\n\n{tables}".encode())
    files = draw_predictions_study(measured, root / "report")
    show("\n".join(sentences))
    show(f"wrote predictions.md, {', '.join(file.name for file in files)} in {root / 'report'}")
