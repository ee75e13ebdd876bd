"""Aggregates of several runs on several tasks (Agarwal et al., 2021).

Scores are held by task, with the runs on the last axis; any axes before it are kept, so that a
bootstrap can ask for all of its resamples at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

TaskScores = Mapping[str, Float[np.ndarray, "... _"]]
"""One score for each run of a task, by task."""


def mean(scores: TaskScores) -> Any:
    """Mean over tasks of the mean over runs."""
    return np.stack([runs.mean(-1) for runs in scores.values()], axis=-1).mean(-1)


def interquartile_mean(scores: TaskScores) -> Any:
    """Mean of the middle half of all runs on all tasks.

    A quarter of the runs, rounded down, is left out at each end. Every run counts once, also
    where one task has more of them than another.
    """
    return trimmed_mean(np.concatenate(list(scores.values()), axis=-1))


def trimmed_mean(values: Float[np.ndarray, "... _"]) -> Any:
    """Mean without the lowest and the highest quarter, each rounded down."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(-1)


def optimality_gap(scores: TaskScores, target: float = 1.0) -> Any:
    """Compute the mean shortfall of runs below a score; scores above it count as it.

    Args:
        scores: Scores.
        target: The score; 1 for scores that are divided by the best there is.
    """
    return target - mean({task: np.minimum(runs, target) for task, runs in scores.items()})


def probability_of_improvement(scores: TaskScores, baseline: TaskScores) -> Any:
    """Chance that a run is better than one of the baseline, on a task drawn at random.

    A tie counts as half: this is the mean over tasks of Mann and Whitney's U, divided by the
    number of pairs.

    Args:
        scores: Scores.
        baseline: Scores of another method on the same tasks.

    Raises:
        ValueError: If the tasks are not the same.
    """
    check_same_tasks(scores, baseline)
    chances = []
    for task, runs in scores.items():
        ours, theirs = runs[..., :, None], baseline[task][..., None, :]
        chances.append(((ours > theirs) + 0.5 * (ours == theirs)).mean((-2, -1)))
    return np.stack(chances, axis=-1).mean(-1)


def performance_profile(
    scores: TaskScores, thresholds: Float[np.ndarray, " threshold"] | Sequence[float]
) -> Float[np.ndarray, "... threshold"]:
    """Share of all runs on all tasks with a score above each threshold."""
    runs = np.concatenate(list(scores.values()), axis=-1)
    return (runs[..., None, :] > np.asarray(thresholds)[:, None]).mean(-1)


def check_same_tasks(scores: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
    """Checks that two methods can be compared.

    Raises:
        ValueError: If they do not have the same tasks, or there are none.
    """
    if not scores or set(scores) != set(baseline):
        raise ValueError(
            f"`baseline` must have the tasks of `scores` ({', '.join(sorted(scores)) or 'none'}), "
            f"got {', '.join(sorted(baseline)) or 'none'}."
        )
