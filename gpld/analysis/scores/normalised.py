"""Normalised scores: 0 is the lowest return of a task, 1 the best, so that tasks have one scale."""

from collections.abc import Iterable

from ...envs.score_range import ScoreRange, score_range
from .statistics import TaskScores

NORMALISED = "normalised return"
"""The name of normalised scores where they are not returns over one number."""


def normalised(scores: TaskScores) -> TaskScores:
    """Return each score over the range of its task, without tasks whose range is not known."""
    return {
        task: (runs - own.lowest) / (own.best - own.lowest)
        for task, runs in scores.items()
        if (own := score_range(task)) is not None
    }


def shared_range(tasks: Iterable[str]) -> ScoreRange | None:
    """Return the range that all of some tasks have; None if they differ or one is not known."""
    ranges = {score_range(task) for task in tasks}
    return ranges.pop() if len(ranges) == 1 else None


def normalised_name(tasks: Iterable[str]) -> str:
    """Return the name of normalised scores: `return / 1000` for tasks of the suite alone."""
    shared = shared_range(tasks)
    if shared is None or shared.lowest != 0:
        return NORMALISED
    return f"return / {shared.best:g}"


def missing_ranges(tasks: Iterable[str]) -> str | None:
    """Return a line on the tasks that have no normalised scores; None if there are none."""
    unknown = sorted({task for task in tasks if score_range(task) is None})
    if not unknown:
        return None
    return (
        "Left out of interquartile means, optimality gaps, ratios and performance profiles, since "
        f"no lowest and best return is known: {', '.join(unknown)}."
    )
