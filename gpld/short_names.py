"""Short forms of tasks' names."""

_SHORT = {"cup_catch": "ball_in_cup_catch"}

SHORT_NAMES = tuple(_SHORT)
"""Usual short forms, which are understood and never recorded."""


def canonical_name(task: str) -> str:
    """Return the one name of a task, which settings, results and published scores have."""
    return _SHORT.get(task, task)
