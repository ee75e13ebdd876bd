"""Published results, beside which our runs are drawn. Sources are in `README.md`."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...suite import canonical_name

PAPER_FRAMES = 1_000_000
"""The moment of the paper's Table 3: its "1M environment steps" are frames."""


class PublishedCurve(NamedTuple):
    """Mean return over seeds on one task, in the course of training."""

    label: str
    frames: Int[np.ndarray, " point"]
    mean: Float[np.ndarray, " point"]
    std: Float[np.ndarray, " point"]
    """Standard deviation over the seeds."""

    seeds: int


class Published(NamedTuple):
    """Mean in a table of others, with its standard deviation."""

    mean: float
    std: float


def paper_table3() -> dict[str, dict[str, Published]]:
    """The paper's Table 3, by method (`DreamerV3`, `GPLD`) and task."""
    rows = _rows("paper_table3_proprio_1m")
    return {
        method: {
            _task(row): Published(float(row[f"{column}_mean"]), float(row[f"{column}_std"]))
            for row in rows
        }
        for method, column in (("DreamerV3", "dreamerv3"), ("GPLD", "gpld"))
    }


def paper_table1() -> dict[str, dict[str, float]]:
    """The paper's Table 1, by method and task: six of the tasks of Table 3."""
    rows = _rows("paper_table1_locomotion_1m")
    return {
        method: {_task(row): float(row[column]) for row in rows}
        for method, column in (("DreamerV3", "dreamerv3"), ("GPLD", "gpld"))
    }


def published_curves(task: str, *, pixels: bool = False) -> list[PublishedCurve]:
    """Curves of others on a task, from vectors or from pictures; none where nobody has any.

    Args:
        task: A task of DeepMind Control, such as `walker_run`.
        pixels: Whether the agents saw pictures.
    """
    if pixels:
        return _curves(_rows("official_dmc_vision_dreamerv3"), task, "DreamerV3, official")
    official = _rows("official_dmc_proprio_dreamerv3")
    tdmpc2 = [row for row in _rows("tdmpc2_paper_dmc_state") if row["method"] == "tdmpc2"]
    return _curves(official, task, "DreamerV3, official") + _curves(tdmpc2, task, "TD-MPC2")


def random_return(task: str) -> float | None:
    """Return the mean return of uniformly random actions on a task; None where it is unknown."""
    returns = {row["task"]: float(row["mean"]) for row in _rows("random_actions")}
    return returns.get(canonical_name(task))


def _curves(rows: list[dict[str, str]], task: str, label: str) -> list[PublishedCurve]:
    """The curve of one method, if it has the task."""
    points = [row for row in rows if _task(row) == task]
    if not points:
        return []
    frames = np.array([int(row["env_steps"]) for row in points])
    mean, std = (np.array([float(row[name]) for row in points]) for name in ("mean", "std"))
    return [PublishedCurve(label, frames, mean, std, int(points[0]["seeds"]))]


def _rows(name: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _task(row: dict[str, str]) -> str:
    return row["task"].replace("-", "_")
