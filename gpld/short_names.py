"""Short forms of tasks' names."""

SHORT_NAMES = {"cup_catch": "ball_in_cup_catch"}
"""Usual short forms, which are understood and never recorded."""


def canonical_name(task: str) -> str:
    """Return the one name of a task, which settings, results and published scores have."""
    return SHORT_NAMES.get(task, task)
