"""The command `plot`: compares runs in pictures and tables."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ..analysis.packed import SUFFIX, unpacked
from ..analysis.report import write_report
from ..analysis.scores import (
    CHECKPOINT_SCORES,
    RunScores,
    ScoreTable,
    Source,
    missing_ranges,
    read_runs,
    score_table,
    write_csv,
)
from ..analysis.tables import Table, aggregate_table, answers, task_table
from ..cli import one_line_errors
from ..config.checks import at_least, check_fields, within
from ..config.flags import parse
from ..errors import UsageError
from ..machine.files import check_folder, write_bytes, writing


@dataclasses.dataclass(frozen=True)
class PlotArgs:
    """Compare runs: curves, aggregates over tasks, tables, all evaluations as CSV.

    Writes curves.png, aggregates.png, both as PDF, scores.md, scores.csv, and all of it in
    report.html. How scores and intervals are computed is in docs/understand/scores.md.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, sweeps, folders that hold them, and files of `scripts/pack.py`."""

    out: Path = Path("figures")
    """Folder for pictures and tables."""

    baseline: str | None = None
    """Arm that others are compared with; None takes DreamerV3, if there is one."""

    frame: int | None = None
    """Frame at which scores are compared; None takes the last that every run has reached."""

    window_frames: Annotated[int, at_least(0)] = 0
    """Frames before it whose evaluations are averaged; 0 takes the last evaluation alone."""

    smooth: Annotated[float | None, within("(0, 1]")] = None
    """Weight of the newest evaluation in a moving average of each curve, such as the published
    code's 0.1; None draws evaluations as they are. Tables are never smoothed."""

    source: Source = "training"
    """Scores in tables: those of evaluations during training, or those of checkpoints by
    `scripts/evaluate.py --out RUN/evaluation.json`. Curves are of the former."""

    published: bool = True
    """Whether the paper's table and published curves of others are drawn as well."""

    def __post_init__(self):
        check_fields(self)
        if not self.runs:
            raise ValueError("`runs` must name the folder of a run, or a packed file.")


def main(args: Sequence[str] | None = None) -> None:
    """Compare the runs that the arguments name."""
    with one_line_errors():
        options: PlotArgs = parse(PlotArgs, sys.argv[1:] if args is None else args)
        title = ", ".join(run.name.removesuffix(SUFFIX) for run in options.runs)
        with unpacked(options.runs) as folders:
            options = dataclasses.replace(options, runs=tuple(folders))
            compare(options, title=title)


def compare(
    options: PlotArgs,
    *,
    title: str,
    stamp: str | None = None,
    choices: Sequence[str] = (),
    pictures: Sequence[Path] = (),
) -> None:
    """Draw and write what the options ask for, and print the tables.

    Args:
        options: Options.
        title: Title of the report.
        stamp: As for `write_report`, like the next one.
        choices: What the report tells about open questions.
        pictures: Files that the report shows before all others; those that are PNGs.

    Raises:
        UsageError: If there are no runs, or none can be compared.
        MachineError: If a file cannot be written.
    """
    # Imported here: matplotlib takes half a second, and `--help` needs none of it.
    from ..analysis.curve_figures import draw_aggregates, draw_task_curves

    runs, left_out = _with_evaluations(options.runs, "training")
    table, baseline, tables = score_tables(options, left_out)
    sentences = answers(table, baseline=baseline)
    check_folder(options.out)
    drawn = [run for run in runs if run.arm in table.scores]
    if baseline not in {run.arm for run in drawn}:
        baseline = None  # of its runs only checkpoints have scores
    draw = {"baseline": baseline, "smooth": options.smooth, "stamp": stamp}
    text = "\n".join(own.markdown() for own in tables)
    with writing(options.out):
        write_csv(options.out / "scores.csv", runs)
        write_bytes(options.out / "scores.md", text.encode())
    curves = draw_task_curves(runs, options.out / "curves", published=options.published, **draw)
    aggregates = list[Path]()
    if drawn:  # none, if those that have scores of checkpoints have no curves
        aggregates = draw_aggregates(drawn, table, options.out / "aggregates", **draw)
    write_report(
        options.out / "report.html",
        title=title,
        answers=sentences,
        runs=runs,
        tables=tables,
        pictures=[file for file in (*pictures, *curves, *aggregates) if file.suffix == ".png"],
        stamp=stamp,
        choices=choices,
    )
    files = [file.name for file in (*curves, *aggregates)]
    written = ", ".join(["scores.csv", "scores.md", *files, "report.html"])
    print(f"{text}\nwrote {written} in {options.out}", flush=True)


def score_tables(
    options: PlotArgs, left_out: Sequence[str] = ()
) -> tuple[ScoreTable, str | None, list[Table]]:
    """Return scores of runs, the arm that others are compared with, and tables of them.

    Args:
        options: Options, whose runs are folders.
        left_out: Lines about runs that are missing, beside those without scores.

    Raises:
        UsageError: If there are no runs, or none can be compared.
    """
    runs, empty = _with_evaluations(options.runs, options.source)
    scores = score_table(runs, frame=options.frame, window_frames=options.window_frames)
    missing = list(dict.fromkeys([*scores.missing, *empty, *left_out]))
    scores = scores._replace(missing=missing)
    tables = [task_table(scores, published=options.published)]
    arms = list(scores.scores)
    baseline, together = options.baseline, bool(scores.common_tasks(*arms))
    if baseline is None and "DreamerV3" in arms and together:
        baseline = "DreamerV3"
    if baseline is not None:
        tables.append(aggregate_table(scores, baseline=baseline))
    else:
        apart = f"No task is common to {' and '.join(arms)}: none is compared."
        lines = [] if together else [apart]
        lines += filter(None, [missing_ranges(run.task for run in runs)])
        tables = [own._replace(notes=[*own.notes, *lines]) for own in tables]
    return scores, baseline, tables


def _with_evaluations(roots: Sequence[Path], source: Source) -> tuple[list[RunScores], list[str]]:
    """Return the runs that have been evaluated, and a line about each of the others.

    Raises:
        UsageError: If no run has been.
    """
    unread = list[str]()
    runs = read_runs(roots, source, unreadable=unread.append)
    some = [run for run in runs if run.env_steps.size]
    empty = [run for run in runs if not run.env_steps.size]
    missing = [*unread, *(f"{run.name} has no evaluation." for run in empty)]
    if not runs:
        raise UsageError(f"None of {len(unread)} runs can be read. {unread[0]}")
    if not some:
        hint = " yet"
        if source == "checkpoints":
            command = f"python scripts/evaluate.py RUN --out RUN/{CHECKPOINT_SCORES}"
            hint = f" of its checkpoints: `{command}` makes one"
        why = f" {unread[0]}" if unread else ""
        raise UsageError(f"None of {len(runs) + len(unread)} runs has an evaluation{hint}.{why}")
    return some, missing
