"""Rows of the matrices of GPU programs: settings, one factor at a time, and simulated tasks."""

from collections.abc import Iterator
from typing import NamedTuple

from ...envs.rewards import COVERED
from .programs import ProgramName

# One of each domain, whose loop on the device takes minutes to compile.
_TASKS = (
    "acrobot_swingup",
    "ball_in_cup_catch",
    "cartpole_swingup",
    "cheetah_run",
    "finger_spin",
    "fish_swim",
    "hopper_hop",
    "humanoid_walk",
    "pendulum_swingup",
    "point_mass_easy",
    "quadruped_run",
    "reacher_easy",
    "swimmer_swimmer6",
    "walker_walk",
)


class Row(NamedTuple):
    """A program of the matrix."""

    name: str
    flags: tuple[str, ...] = ()
    """Flags of `scripts/train.py`."""

    program: ProgramName = "update"
    cards: int = 1


def setting_rows() -> Iterator[Row]:
    """Yield a row for each factor in which settings may differ from the paper's, which is first."""
    pixels, seeds = ("--preset", "paper_pixels"), ("--seeds", "5")
    yield Row("paper")
    yield Row("vanilla", ("--gpld.lambda0", "0"))
    yield Row("joint", ("--gpld.estimator", "joint"))
    yield Row("forward", ("--gpld.estimator", "forward"))
    yield Row("exact", ("--gpld.estimator", "exact"))
    yield Row("literal path", ("--gpld.path", "literal"))
    yield Row("prior", ("--gpld.target", "prior"))
    yield Row("both targets", ("--gpld.target", "both"))
    yield Row("authors' reduction", ("--preset", "authors"))
    yield Row("mixed", ("--precision", "mixed"))
    yield Row("float32", ("--precision", "float32"))
    yield Row("deterministic", ("--deterministic",))
    yield Row("no rewriting", ("--compute.no_rewrite",))
    yield Row("pixels", pixels)
    yield Row("pixels vanilla", (*pixels, "--gpld.lambda0", "0"))
    yield Row("vectors and pixels", ("--env.observations", "both"))
    for number in (2, 5, 8):
        yield Row(f"{number} seeds", ("--seeds", str(number)))
    yield Row("5 seeds pixels", (*pixels, *seeds))
    yield Row("5 seeds vanilla", (*seeds, "--gpld.lambda0", "0"))
    for size in ("1m", "50m", "200m"):
        yield Row(f"size {size}", ("--model.size", size))
    yield Row("dreamerv3", ("--preset", "dreamerv3"))
    yield Row("world model alone", ("--learn", "world_model"))
    yield Row("4 cards", ("--devices", "4"), cards=4)
    yield Row("4 seeds on 4 cards", ("--devices", "4", "--seeds", "4"), cards=4)
    yield Row("act", program="act")
    yield Row("act 5 seeds", seeds, "act")
    yield Row("act pixels", pixels, "act")
    yield Row("report", program="report")
    yield Row("report pixels", pixels, "report")
    yield Row("evaluation", program="evaluate")
    for task in _TASKS:
        yield Row(f"loop {task}", ("--preset", "mjx_paper", "--task", task), "device")
    yield Row(
        "loop cartpole_swingup 5 seeds",
        ("--preset", "mjx_paper", "--task", "cartpole_swingup", *seeds),
        "device",
    )


def simulation_rows() -> Iterator[Row]:
    """Yield a row for the control step of every task that MJX simulates."""
    for task in sorted(COVERED):
        yield Row(task, ("--preset", "mjx_paper", "--task", task), "simulate")
