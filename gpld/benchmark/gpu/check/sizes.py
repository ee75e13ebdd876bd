"""Sizes of the check: those for a GPU, and small ones with which all of it runs on a CPU."""

from typing import NamedTuple

QUIET = (
    *("--evaluation.video_every", "0", "--evaluation.predictions", "0"),
    *("--log.report_every", "0", "--log.no_tensorboard"),
)
"""Flags of all runs of the check, which draw nothing and report to their folders alone."""


class Sizes(NamedTuple):
    """Everything that differs between a GPU and a trial on a CPU; flags are those of training."""

    fixtures: tuple[str, ...]
    """Recordings of the published implementation."""

    update: tuple[str, ...]
    """Flags of all updates that are timed."""

    updates: tuple[str, ...]
    """Rows of the matrix of GPU programs whose updates are timed, and others by their flags."""

    calls: int
    """Calls of an update in a row, whose mean is one time."""

    rounds: int
    """Times of each update."""

    memory: tuple[str, ...]
    """Flags of the runs whose memory is watched."""

    seeds: int
    """Seeds that are trained together, besides one."""

    learning: tuple[str, ...]
    resume: tuple[str, ...]
    """Flags of the run that is killed."""

    env_steps: int
    """Env steps of that run after its first update."""

    tasks: tuple[str, ...]
    """Tasks that MJX simulates."""

    envs: int
    """Environments that it steps together."""

    traced: int
    """Updates in the profile."""


FULL = Sizes(
    fixtures=("proprio", "proprio_joint", "pixels"),
    update=(),
    # The last is that of `learning`, which finds it compiled.
    updates=(
        *("vanilla", "paper", "joint", "5 seeds vanilla", "5 seeds", "5 seeds joint"),
        "5 seeds dreamerv3",
    ),
    calls=10,
    rounds=5,
    memory=(),
    seeds=5,
    learning=("--preset", "dreamerv3", "--task", "walker_stand", "--evaluation.every", "2000"),
    resume=("--task", "quadruped_run", "--gpld.lambda0", "0.5"),
    env_steps=300,
    tasks=("cartpole_swingup", "walker_walk", "quadruped_run"),
    envs=1024,
    traced=5,
)

_DEBUG = ("--preset", "debug", "--task", "walker_walk")

SMALL = Sizes(
    fixtures=("proprio",),
    update=_DEBUG,
    updates=("paper", "2 seeds"),
    calls=1,
    rounds=2,
    memory=_DEBUG,
    seeds=2,
    learning=(*_DEBUG, "--evaluation.every", "80"),
    resume=_DEBUG,
    env_steps=300,
    tasks=("cartpole_swingup",),
    envs=4,
    traced=2,
)
