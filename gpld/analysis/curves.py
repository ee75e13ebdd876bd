"""Scores in the course of training, over seeds and over tasks."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..errors import UsageError
from .scores import RunScores, TaskScores, mean, stratified_bootstrap


class Curve(NamedTuple):
    """A statistic of runs in the course of training, with bootstrap intervals."""

    frames: Int[np.ndarray, " point"]
    estimate: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]
    high: Float[np.ndarray, " point"]
    seeds: tuple[int, int]
    """Fewest and most runs of a task."""


class Arm(NamedTuple):
    """The runs of one method on several tasks, at the moments that all of them have."""

    frames: Int[np.ndarray, " point"]
    scores: TaskScores
    """By task: `[point, run]`."""


def arm_scores(runs: Sequence[RunScores], *, smooth: float | None = None) -> Arm:
    """Puts runs beside each other.

    Moments are those at which evaluations were due in every run, so that nothing is
    interpolated; the shortest run ends them all.

    Args:
        runs: Evaluations of one method.
        smooth: Weight of the newest evaluation in an exponential moving average of each run,
            in (0, 1]; None leaves evaluations as they are.

    Raises:
        UsageError: If no moment is common.
    """
    if smooth is not None and not 0 < smooth <= 1:
        raise ValueError(f"`smooth` must lie in (0, 1], got {smooth}.")
    frames = functools.reduce(np.intersect1d, (run.due_frames for run in runs))
    if not frames.size:
        raise UsageError(f"The runs of {runs[0].arm} have no evaluations at the same frames.")
    scores: dict[str, list[np.ndarray]] = {}
    for run in runs:
        values = run.scores if smooth is None else moving_average(run.scores, smooth)
        scores.setdefault(run.task, []).append(values[np.isin(run.due_frames, frames)])
    return Arm(frames, {task: np.stack(curves, axis=-1) for task, curves in scores.items()})


def moving_average(
    values: Float[np.ndarray, " point"], newest: float
) -> Float[np.ndarray, " point"]:
    """Exponential moving average that begins with the first value.

    Args:
        values: Values.
        newest: Weight of each new value; the published code has 0.1.
    """
    averages = np.array(values, float)
    for i in range(1, len(averages)):
        averages[i] = newest * values[i] + (1 - newest) * averages[i - 1]
    return averages


def curve(arm: Arm, statistic: Callable[[TaskScores], Any] = mean) -> Curve:
    """A statistic at every moment, with its 95 % interval.

    Args:
        arm: Runs.
        statistic: Keeps axes before that of the runs; the default is the mean over tasks of
            the mean over seeds.
    """
    interval = stratified_bootstrap(statistic, arm.scores)
    counts = [runs.shape[-1] for runs in arm.scores.values()]
    return Curve(arm.frames, *map(np.asarray, interval), seeds=(min(counts), max(counts)))


def relative_to(references: Mapping[str, float]) -> Callable[[TaskScores], Any]:
    """The paper's normalised aggregate: the mean over tasks of score over a reference.

    Args:
        references: A score for each task; that of the baseline at the end, in the paper. They
            are held fixed: intervals do not have their uncertainty.
    """
    return lambda scores: mean({task: runs / references[task] for task, runs in scores.items()})


def by_arm(runs: Iterable[RunScores]) -> dict[str, list[RunScores]]:
    """The runs of each arm, arms in their order."""
    arms: dict[str, list[RunScores]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    return arms
