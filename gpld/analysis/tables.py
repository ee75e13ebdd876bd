"""Scores at one moment as tables: each task by itself, and what all come to."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..envs.score_range import score_range
from .published import PAPER_FRAMES, paper_table3, random_return
from .scores import (
    NORMALISED,
    RELATIVE,
    ScoreTable,
    TaskScores,
    has_interval,
    interquartile_mean,
    mean,
    means,
    missing_ranges,
    normalised,
    normalised_name,
    optimality_gap,
    probability_of_improvement,
    shared_range,
    stratified_bootstrap,
)

_FEW = 3  # tasks of which a sentence each is read


class Table(NamedTuple):
    """Cells of text under a title, with notes on what they are."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
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
    most = max(table.episodes)
    notes = [
        "Mean ± population standard deviation over runs of their mean return in "
        f"{most} episode{'s' * (most > 1)}; median; number of runs."
    ]
    notes += [
        f"Fewer episodes, {count}: {run}"
        for count, runs in sorted(table.episodes.items())
        for run in runs
        if count < most
    ]
    if paper and table.frame != PAPER_FRAMES:
        notes.append(
            f"The paper's columns are at {PAPER_FRAMES:,} frames, ours at {table.frame:,}: they "
            "cannot be compared."
        )
    notes += [f"Missing: {line}" for line in table.missing]
    return Table(f"Returns at {table.frame:,} frames{window}", header, rows, notes)


def aggregate_table(table: ScoreTable, *, baseline: str) -> Table:
    """Make a table of aggregates of every arm and the baseline over their common tasks.

    Tasks whose lowest or best return is not known count where returns need no scale.

    Args:
        table: Scores.
        baseline: The arm that others are compared with.

    Raises:
        UsageError: If there is no such arm, or no common task.
    """
    others = [arm for arm in table.scores if arm != baseline]
    arms = table.common(baseline, *others)
    reference, *scores = arms
    shares = [normalised(own) for own in arms]

    def row(
        name: str, statistic: Callable[..., Any], arms: Sequence[TaskScores], digits: int = 3
    ) -> list[str]:
        return [name, *(_estimate(statistic, own, digits=digits) for own in arms)]

    chances = [
        # Of single runs it would be 0 or 1.
        _estimate(probability_of_improvement, s, reference) if has_interval(s, reference) else "-"
        for s in scores
    ]
    rows = []
    notes = [
        "In brackets: 95 % stratified bootstrap intervals over seeds, with the tasks as they are "
        f"({', '.join(reference)})."
    ]
    if len(reference) == 1 or shared_range(reference) is not None:
        rows.append(row("mean return", mean, arms, 1))
    else:
        notes.append("The mean return is left out, since these tasks have no scale in common.")
    if known := list(shares[0]):
        name = normalised_name(known)
        rows.append(row(f"interquartile mean of {name}", interquartile_mean, shares))
        rows.append(row(f"optimality gap of {name}", optimality_gap, shares))
        notes[0] += (
            " Ratios have the uncertainty of both arms; where the baseline has a return of 0 they "
            "are undefined."
        )
        if name == NORMALISED:
            notes.append("Ratios are of normalised returns: 0 is a task's lowest, 1 its best.")
    rows.append([f"chance of a better run than {baseline}", "-", *chances])
    for name, aggregate in RELATIVE.items() if known else ():

        def relative(ours: TaskScores, theirs: TaskScores, aggregate=aggregate):
            return aggregate(means(ours), means(theirs))

        cells = [_estimate(relative, own, shares[0]) for own in shares[1:]]
        rows.append([f"{name}, over {baseline}", "-", *cells])
    if line := missing_ranges(reference):
        notes.append(line)
    if not has_interval(*arms):
        notes.append("Where an arm has a single run of a task, nothing is known of other seeds.")
    return Table(
        f"Over {len(reference)} task{'s' * (len(reference) > 1)} at {table.frame:,} frames",
        ["", baseline, *others],
        rows,
        notes,
    )


def answers(table: ScoreTable, *, baseline: str | None) -> list[str]:
    """Say in a sentence each what a report comes to: the returns of a few tasks, who is better.

    Args:
        table: Scores.
        baseline: The arm that others are compared with; None compares none.
    """
    when = f"after {table.frame:,} frames"
    tasks = {task for scores in table.scores.values() for task in scores}
    sentences = []
    if len(tasks) <= _FEW:
        for arm, scores in table.scores.items():
            for task, runs in scores.items():
                seeds = f" ({len(runs)} runs, {runs.min():,.1f} to {runs.max():,.1f})"
                mean_return = f"{runs.mean():,.1f}{seeds if len(runs) > 1 else ' (one run)'}"
                sentences.append(f"{arm} has a mean return of {mean_return} on {task} {when}.")
    for task in sorted(tasks) if len(tasks) <= _FEW else ():
        known, random = score_range(task), random_return(task)
        others = [f"random actions have {random:,.1f}"] if random is not None else []
        others += [f"the best possible is {known.best:,.0f}"] if known is not None else []
        if others:
            sentences.append(f"On {task} {' and '.join(others)}.")
    for arm in table.scores if baseline is not None else ():
        if arm != baseline:
            sentences.append(f"{_who_is_better(table, arm, str(baseline))} {when}.")
    return sentences


def _who_is_better(table: ScoreTable, arm: str, baseline: str) -> str:
    ours, theirs = table.common(arm, baseline)
    of = f"on {len(ours)} tasks" if len(ours) > 1 else f"on {next(iter(ours))}"
    if not has_interval(ours, theirs):
        return f"Single runs cannot tell whether {arm} is better than {baseline} {of}"
    chance = stratified_bootstrap(probability_of_improvement, ours, theirs)
    estimate, low, high = (f"{100 * float(value):.0f} %" for value in chance)
    verdict = f"no difference from {baseline} is shown"
    if chance.low > 0.5 or chance.high < 0.5:
        verdict = f"{arm} is {'better' if chance.low > 0.5 else 'worse'} than {baseline}"
    return (
        f"A run of {arm} has a chance of {estimate} (95 % interval: {low} to {high}) to be better "
        f"than one of {baseline}: {verdict} {of}"
    )


def _summary(runs: np.ndarray | None) -> str:
    if runs is None:
        return "-"
    std = f"{runs.std():.1f}" if len(runs) > 1 else "-"
    return f"{runs.mean():.1f} ± {std}; {np.median(runs):.1f}; {len(runs)}"


def _estimate(statistic: Callable[..., Any], *arms: TaskScores, digits: int = 3) -> str:
    """A cell: the statistic, and its interval where there is one."""
    interval = stratified_bootstrap(statistic, *arms)
    if not np.isfinite(interval.estimate):
        return "undefined"
    estimate, low, high = (f"{float(value):.{digits}f}" for value in interval)
    if not has_interval(*arms):
        return estimate
    if not np.all(np.isfinite(interval)):  # of some of the resampled runs
        return f"{estimate} [undefined]"
    return f"{estimate} [{low}, {high}]"
