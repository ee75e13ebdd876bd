"""Scores as multiples of a baseline's, and what they come to over tasks.

The paper's aggregate is the mean over tasks of the ratio of mean scores. One task with a weak
baseline can make most of it, which is why its companions stand beside it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .statistics import TaskScores, check_same_tasks, trimmed_mean

TaskMeans = Mapping[str, Any]
"""Mean score of each task: a number, or an array with one for each resample."""


def means(scores: TaskScores) -> TaskMeans:
    """Mean over the runs of each task."""
    return {task: runs.mean(-1) for task, runs in scores.items()}


def ratios(scores: TaskMeans, baseline: TaskMeans) -> dict[str, Any]:
    """Score over the baseline's, by task; infinite or undefined (nan) where that is 0.

    Raises:
        ValueError: If the tasks are not the same.
    """
    check_same_tasks(scores, baseline)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {task: np.divide(scores[task], baseline[task]) for task in scores}


def mean_ratio(scores: TaskMeans, baseline: TaskMeans) -> Any:
    """Mean over tasks of the ratios: the paper's normalised aggregate."""
    return _by_task(scores, baseline).mean(-1)


def mean_ratio_without_largest(scores: TaskMeans, baseline: TaskMeans) -> Any:
    """The same without the task that has the largest ratio; nan if there is only one."""
    values = np.sort(_by_task(scores, baseline), axis=-1)[..., :-1]
    return values.mean(-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def geometric_mean_ratio(scores: TaskMeans, baseline: TaskMeans) -> Any:
    """Geometric mean over tasks of the ratios: a gain and its inverse cancel."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(_by_task(scores, baseline)).mean(-1))


def median_ratio(scores: TaskMeans, baseline: TaskMeans) -> Any:
    """Median over tasks of the ratios."""
    return np.median(_by_task(scores, baseline), axis=-1)


def interquartile_mean_ratio(scores: TaskMeans, baseline: TaskMeans) -> Any:
    """Mean of the middle half of the ratios, a quarter left out (rounded down) at each end."""
    return trimmed_mean(_by_task(scores, baseline))


def ratio_of_means(scores: TaskMeans, baseline: TaskMeans) -> Any:
    """Mean score over all tasks, over the baseline's: tasks with high returns weigh more."""
    check_same_tasks(scores, baseline)
    ours, theirs = (sum(arm[task] for task in scores) for arm in (scores, baseline))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(ours, theirs)


RELATIVE: Mapping[str, Callable[[TaskMeans, TaskMeans], Any]] = {
    "mean of ratios (the paper's)": mean_ratio,
    "without the largest ratio": mean_ratio_without_largest,
    "geometric mean of ratios": geometric_mean_ratio,
    "median of ratios": median_ratio,
    "interquartile mean of ratios": interquartile_mean_ratio,
    "ratio of means": ratio_of_means,
}
"""All aggregates over tasks, by what they are called in tables."""


def _by_task(scores: TaskMeans, baseline: TaskMeans) -> np.ndarray:
    """Ratios with the tasks on the last axis."""
    return np.stack(list(ratios(scores, baseline).values()), axis=-1)
