"""Scores at one moment as tables: each task by itself, and what all come to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .curves import interquartile_mean_of_best
from .published import PAPER_FRAMES, paper_table3
from .scores import (
    RELATIVE,
    Interval,
    ScoreTable,
    TaskScores,
    mean,
    means,
    optimality_gap,
    probability_of_improvement,
    stratified_bootstrap,
)


class Table(NamedTuple):
    """Cells of text under a title, with notes on what they are."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"## {self.title}", table, *self.notes]) + "\n"


def task_table(table: ScoreTable, *, published: bool = True) -> Table:
    """Mean, population standard deviation and median over the runs of each task and arm.

    Args:
        table: Scores.
        published: Whether the paper's columns are added, if it has one of the tasks.
    """
    tasks = sorted({task for scores in table.scores.values() for task in scores})
    paper = paper_table3() if published else {}
    paper = {method: own for method, own in paper.items() if any(task in own for task in tasks)}
    header = ["task", *table.scores, *(f"{method}, paper at 1M frames" for method in paper)]
    rows = []
    for task in tasks:
        own = [_summary(scores.get(task)) for scores in table.scores.values()]
        theirs = [f"{s[task].mean} ± {s[task].std}" if task in s else "-" for s in paper.values()]
        rows.append([task, *own, *theirs])
    window = f", mean over the {table.window_frames:,} frames before" * bool(table.window_frames)
    notes = [
        "Mean ± population standard deviation over runs of their mean return; median; number of "
        "runs."
    ]
    if paper and table.frame != PAPER_FRAMES:
        notes.append(
            f"The paper's columns are at {PAPER_FRAMES:,} frames, ours at {table.frame:,}: they "
            "cannot be compared."
        )
    notes += [f"Missing: {line}" for line in table.missing]
    return Table(f"Returns at {table.frame:,} frames{window}", header, rows, notes)


def aggregate_table(table: ScoreTable, *, baseline: str) -> Table:
    """What every other arm and the baseline come to over their common tasks.

    Args:
        table: Scores.
        baseline: The arm that others are compared with.

    Raises:
        UsageError: If there is no such arm, or no common task.
    """
    others = [arm for arm in table.scores if arm != baseline]
    reference, *scores = table.common(baseline, *others)
    rows = [
        ["mean return", *(_cell(stratified_bootstrap(mean, s), 1) for s in [reference, *scores])],
        [
            "interquartile mean of return / 1000",
            *(_cell(stratified_bootstrap(interquartile_mean_of_best, s))
              for s in [reference, *scores]),
        ],
        [
            "optimality gap of return / 1000",
            *(_cell(stratified_bootstrap(_gap, s)) for s in [reference, *scores]),
        ],
        [
            f"chance of a better run than {baseline}",
            "-",
            *(_cell(stratified_bootstrap(probability_of_improvement, s, reference))
              for s in scores),
        ],
    ]  # fmt: skip
    for name, aggregate in RELATIVE.items():

        def relative(ours: TaskScores, theirs: TaskScores, aggregate=aggregate):
            return aggregate(means(ours), means(theirs))

        cells = [_cell(stratified_bootstrap(relative, own, reference)) for own in scores]
        rows.append([f"{name}, over {baseline}", "-", *cells])
    tasks = ", ".join(reference)
    return Table(
        f"Over {len(reference)} task{'s' * (len(reference) > 1)} at {table.frame:,} frames",
        ["", baseline, *others],
        rows,
        [
            "In brackets: 95 % stratified bootstrap intervals over seeds, with the tasks as they "
            f"are ({tasks}). Ratios have the uncertainty of both arms; where the baseline has a "
            "return of 0 they are undefined.",
        ],
    )


def _summary(runs: np.ndarray | None) -> str:
    if runs is None:
        return "-"
    return f"{runs.mean():.1f} ± {runs.std():.1f}; {np.median(runs):.1f}; {len(runs)}"


def _gap(scores: TaskScores):
    return optimality_gap({task: runs / 1000 for task, runs in scores.items()})


def _cell(interval: Interval, digits: int = 3) -> str:
    if not np.isfinite(interval.estimate):
        return "undefined"
    estimate, low, high = (f"{float(value):.{digits}f}" for value in interval)
    if not np.all(np.isfinite(interval)):  # of some of the resampled runs
        return f"{estimate} [undefined]"
    return f"{estimate} [{low}, {high}]"
