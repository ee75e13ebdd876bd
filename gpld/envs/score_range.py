"""Lowest and best returns of tasks, for those of which they are known."""

from typing import NamedTuple

from ..suite import EPISODE_STEPS, TASKS, canonical_name
from . import probe


class ScoreRange(NamedTuple):
    """Bounds of the undiscounted return of an episode, which every policy stays within."""

    lowest: float
    best: float


_SUITE = ScoreRange(0.0, float(EPISODE_STEPS))  # a reward in [0, 1] in each control step

# Of Gymnasium's classic tasks: 1 for each step that the pole stands, at most 500 of them, however
# often an action is repeated.
_OTHERS = {"gymnasium:CartPole-v1": ScoreRange(0.0, 500.0)}


def score_range(task: str) -> ScoreRange | None:
    """Return the lowest and the best return of a task, or None where one of them is not known.

    Args:
        task: Name of any task, also of one that cannot be made here. It is made without arguments.
    """
    name = canonical_name(task)
    if name in probe.TASKS:
        return ScoreRange(probe.TASKS[name].lowest_return, probe.TASKS[name].optimal_return)
    if name in TASKS:
        domain, _ = TASKS[name]
        return None if domain == "lqr" else _SUITE  # its rewards have no lower bound
    return _OTHERS.get(name)
