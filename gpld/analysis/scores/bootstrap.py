"""Bootstrap intervals: how much a statistic would vary, had other seeds been drawn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .statistics import TaskScores

RESAMPLES = 2000
"""Resamples of an interval; the ends of a 95 % interval move by about 2 % of its length."""

_ENDS = ((1 - 0.95) / 2, (1 + 0.95) / 2)  # of an interval, as quantiles of the resamples
_MOST_NUMBERS = 2**22  # in one block of resamples of a task: 32 MB


class Interval(NamedTuple):
    """An estimate and where it would probably lie with other seeds; numbers or arrays."""

    estimate: Any
    low: Any
    high: Any


def has_interval(*arms: TaskScores) -> bool:
    """Return whether every task has several runs, without which there is no interval."""
    return all(runs.shape[-1] > 1 for scores in arms for runs in scores.values())


def stratified_bootstrap(
    statistic: Callable[..., Any], *arms: TaskScores, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """95 % percentile interval from runs that are drawn again within each task.

    Each resample has as many runs of every task as there are, drawn with replacement, and
    independently for each task and arm. Tasks are not drawn: the interval is about other
    seeds on the same tasks. With few runs of a task it is too narrow (with n runs, by a
    factor of about sqrt(1 - 1/n) for means), and where a task has only one there is none: both
    ends are nan.

    Args:
        statistic: Of the scores of all arms; keeps axes before that of the runs.
        *arms: Scores of each method that the statistic compares. Axes before that of the runs
            are kept: a run is drawn with all of its curve.
        resamples: How often runs are drawn.
        seed: Seeds the draws.

    Raises:
        ValueError: If a number is out of range, or a task has no runs.
    """
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1, got {resamples}.")
    for scores in arms:
        for task, runs in scores.items():
            if runs.shape[-1] == 0:
                raise ValueError(f"`arms` must have runs of every task, got none of {task}.")
    estimate = statistic(*arms)
    if not has_interval(*arms):
        nothing = np.full(np.shape(estimate), np.nan)
        return Interval(estimate, nothing, nothing)
    rng = np.random.default_rng(seed)
    largest = max(runs.size for scores in arms for runs in scores.values())
    block = max(1, min(resamples, _MOST_NUMBERS // largest))
    drawn = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn.append(statistic(*(_resample(scores, size, rng) for scores in arms)))
    with np.errstate(invalid="ignore"):  # between resamples whose ratios are infinite
        low, high = np.quantile(np.concatenate(drawn), _ENDS, axis=0)
    return Interval(estimate, low, high)


def _resample(scores: TaskScores, size: int, rng: np.random.Generator) -> TaskScores:
    """Runs of each task, drawn with replacement: a new first axis, of `size`.

    They are the same runs at all places of the other axes, such as moments of a curve.
    """
    drawn = {}
    for task, runs in scores.items():
        indices = rng.integers(runs.shape[-1], size=(size, runs.shape[-1]))
        drawn[task] = np.moveaxis(runs[..., indices], -2, 0)
    return drawn
