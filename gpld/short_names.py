"""The one form of a task's name."""

import os

SHORT_NAMES = {"cup_catch": "ball_in_cup_catch"}
"""Usual short forms, which are understood and never recorded."""


def canonical_name(task: str) -> str:
    """Return the one name of a task, which settings, results and published scores have.

    Short forms become the name that they stand for, and the path of a Python file becomes
    absolute, so that whoever makes the task needs no working directory.
    """
    path, colon, function = task.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{os.path.abspath(path)}:{function}"
    return SHORT_NAMES.get(task, task)
