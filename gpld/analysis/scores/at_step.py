"""Scores at a moment of training, and the table of all runs there."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...errors import UsageError
from .runs import RunScores
from .statistics import TaskScores


def score_at(run: RunScores, *, frame: int, window_frames: int = 0) -> float:
    """Score of a run at a moment: the mean over the evaluations of a window before it.

    Evaluations count that were due in the frames from `frame - window_frames`, exclusive, to
    `frame`; with a window of 0, the last one that was due at or before `frame`, at most one
    interval of evaluations before it. Evaluations weigh the same, and so do the episodes of
    each. An evaluation takes place when all environments have stepped, which can be a few
    frames after it was due.

    Args:
        run: Evaluations of a run.
        frame: The moment in frames.
        window_frames: Length of the window in frames.

    Raises:
        UsageError: If there was no evaluation.
    """
    return float(run.scores[_counting(run, frame, window_frames)].mean())


def _counting(run: RunScores, frame: int, window_frames: int) -> Int[np.ndarray, " evaluation"]:
    """Indices of the evaluations that are a run's score at a moment."""
    if window_frames < 0:
        raise ValueError(f"`window_frames` must be at least 0, got {window_frames}.")
    early = frame - (window_frames or run.every_env_steps * run.action_repeat)
    due = run.due_frames
    (inside,) = np.nonzero((due > early) & (due <= frame))
    if not inside.size:
        there = f"its evaluations are at {due[0]:,} to {due[-1]:,}" if due.size else "it has none"
        raise UsageError(
            f"{run.name} has no evaluation in the {frame - early:,} frames up to {frame:,}; "
            f"{there}."
        )
    return inside if window_frames else inside[-1:]


class ScoreTable(NamedTuple):
    """The score of every run at one moment."""

    frame: int
    window_frames: int
    scores: dict[str, dict[str, Float[np.ndarray, " run"]]]
    """By arm and task, seeds in their order; tasks without a run that got there are left out."""

    missing: list[str]
    """Runs that have no score there, with the reason."""

    episodes: dict[int, list[str]]
    """Names of the runs by the fewest episodes that one of their evaluations there has."""

    def common_tasks(self, first: str, *others: str) -> list[str]:
        """Return the tasks on which every one of these arms has scores."""
        scores = [self.scores.get(arm, {}) for arm in (first, *others)]
        return [task for task in scores[0] if all(task in own for own in scores)]

    def common(self, *arms: str) -> list[TaskScores]:
        """Scores of arms on the tasks that all of them have.

        Raises:
            UsageError: If there is no such arm or task.
        """
        for arm in arms:
            if arm not in self.scores:
                raise UsageError(
                    f"There is no arm {arm} at {self.frame:,} frames, but "
                    f"{', '.join(self.scores) or 'none'}."
                )
        tasks = self.common_tasks(*arms)
        if not tasks:
            raise UsageError(f"{' and '.join(arms)} have no task in common.")
        return [{task: self.scores[arm][task] for task in tasks} for arm in arms]


def score_table(
    runs: Sequence[RunScores], *, frame: int | None = None, window_frames: int = 0
) -> ScoreTable:
    """The score of every run at the same moment.

    Args:
        runs: Evaluations.
        frame: The moment in frames; None takes the last that every run has reached.
        window_frames: As for `score_at`.

    Raises:
        UsageError: If no run has a score there, or one has no evaluation at all and `frame`
            is None.
    """
    if frame is None:
        for run in runs:
            if not run.env_steps.size:
                raise UsageError(f"{run.name} has no evaluation yet.")
        frame = min(int(run.due_frames[-1]) for run in runs)
    scores: dict[str, dict[str, list[float]]] = {}
    missing, episodes = [], dict[int, list[str]]()
    for run in runs:
        try:
            counting = _counting(run, frame, window_frames)
        except UsageError as error:
            missing.append(str(error))
            continue
        scores.setdefault(run.arm, {}).setdefault(run.task, []).append(run.scores[counting].mean())
        fewest = min(len(run.returns[i]) for i in counting)
        episodes.setdefault(fewest, []).append(run.name)
    if not scores:
        raise UsageError(missing[0] if missing else "There are no runs.")
    arrays = {
        arm: {task: np.array(values) for task, values in tasks.items()}
        for arm, tasks in scores.items()
    }
    return ScoreTable(frame, window_frames, arrays, missing, episodes)
