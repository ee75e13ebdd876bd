"""Names of tasks: those of the DeepMind Control suite, and the one form of any name.

Nothing is imported here, least of all dm_control, which is slow to import.
"""

import os

_TASKS_OF_DOMAINS = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance",
        "balance_sparse",
        "swingup",
        "swingup_sparse",
        "three_poles",
        "two_poles",
    ),
    "cheetah": ("run",),
    "dog": ("fetch", "run", "stand", "trot", "walk"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("swim", "upright"),
    "hopper": ("hop", "stand"),
    "humanoid": ("run", "run_pure_state", "stand", "walk"),
    "humanoid_CMU": ("run", "stand", "walk"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("escape", "fetch", "run", "walk"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer15", "swimmer6"),
    "walker": ("run", "stand", "walk"),
}

# Domains and tasks may contain underscores, so names are looked up and never split.
TASKS = {
    f"{domain}_{task}": (domain, task)
    for domain, tasks in _TASKS_OF_DOMAINS.items()
    for task in tasks
}
"""Domain and task in dm_control by our name."""

EPISODE_STEPS = 1000
"""Control steps of an episode that nothing ends earlier, the same in all tasks."""

SHORT_NAMES = {"cup_catch": "ball_in_cup_catch"}
"""Usual short forms, which are understood and never recorded."""


def canonical_name(task: str) -> str:
    """Return the one name of a task, which settings, results and published scores have.

    Short forms become the name that they stand for, and the path of a Python file becomes
    absolute, so that whoever makes the task needs no working directory.
    """
    path, colon, function = task.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{os.path.abspath(os.path.expanduser(path))}:{function}"
    return SHORT_NAMES.get(task, task)


def short_name(task: str) -> str:
    """Return the name of a task for tables and pictures: that of a Python file without folders."""
    path, _, function = task.rpartition(":")
    return f"{os.path.basename(path)}:{function}" if path.endswith(".py") else task


def same_task(one: str, other: str) -> bool:
    """Return whether two names are those of one task: a Python file may have been moved."""
    return short_name(canonical_name(one)) == short_name(canonical_name(other))
