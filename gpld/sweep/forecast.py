"""Forecast of the hours that jobs will take, from runs that are there."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..runs.folder import RunFolder
from .job import Job


def seconds_per_env_step(run: Path) -> float | None:
    """Return the seconds of an env step, updates and evaluations included; None if unknown.

    Where several seeds are trained together, it is what one of each took together.
    """
    lines = RunFolder(run).read("metrics")
    seconds = sum(line["time/seconds"] or 0.0 for line in lines)
    return seconds / lines[-1]["env_step"] if seconds else None


def predict(jobs: Sequence[Job], like: Path | None = None) -> dict[str, float]:
    """Return the hours that are left of each job, by name; without those that are unknown.

    A job is taken to be as fast as its own run so far, or else as the mean of other jobs' on
    the same task, or else as that of all; per seed, which is too much where seeds share a
    program and the measured ones did not.

    Args:
        jobs: All jobs of the sweep.
        like: A run to take the speed from instead.

    Raises:
        UsageError: If that run has no metrics yet.
    """
    speed = None if like is None else seconds_per_env_step(like)
    if like is not None and speed is None:
        raise UsageError(f"`--like` must name a run with metrics, but {like} has none yet.")
    measured = {}
    if speed is None:
        for job in jobs:
            if own := [s for run in job.runs if (s := seconds_per_env_step(run))]:
                measured[job.name] = (job, max(own) / job.config.seeds)
    hours = {}
    for job in jobs:
        if speed is not None:
            speeds = [speed]
        elif job.name in measured:
            speeds = [measured[job.name][1]]
        else:
            same = [s for other, s in measured.values() if other.config.task == job.config.task]
            speeds = same or [speed for _, speed in measured.values()]
        if speeds:
            per_env_step = sum(speeds) / len(speeds) * job.config.seeds
            hours[job.name] = job.env_steps_left * per_env_step / 3600
    return hours
