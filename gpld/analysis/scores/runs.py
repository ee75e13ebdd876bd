"""Evaluations of runs, read from their folders.

Everything here is placed in *frames*, control steps of the simulator, which is what the paper
and others plot over; `env_steps` are decisions of the agent. Both are in every record, under
their names, and no function takes a number that could be either.
"""

import csv
import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...config import Config
from ...errors import UsageError
from ...run_folder import RunFolder
from .arms import ARMS, label_arms

CHECKPOINT_SCORES = "evaluation.json"
"""What `scripts/evaluate.py --out` has made of a run's checkpoints, in its folder."""

Source = Literal["training", "checkpoints"]
"""training: the evaluations that a run makes as it goes on. checkpoints: those of its
checkpoints afterwards, in `evaluation.json`; the paper's tables have 20 episodes of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class RunScores:
    """The evaluations of one run, the earliest first."""

    path: Path
    task: str
    arm: str
    seed: int
    pixels: bool
    """Whether the agent saw pictures and nothing else."""

    action_repeat: int
    num_envs: int
    every_env_steps: int
    """Env steps from one evaluation to the next, as the settings have it."""

    env_steps: Int[np.ndarray, " evaluation"]
    returns: tuple[tuple[float, ...], ...]
    """Return of every episode of each evaluation."""

    @property
    def frames(self) -> Int[np.ndarray, " evaluation"]:
        """When the evaluations took place, in frames."""
        return self.env_steps * self.action_repeat

    @property
    def every_frames(self) -> int:
        """Frames between evaluations."""
        return self.every_env_steps * self.action_repeat

    @property
    def due_frames(self) -> Int[np.ndarray, " evaluation"]:
        """When the evaluations became due, in frames: they wait until all environments stepped.

        The last one of a run may be due because the run is over, and at any moment.
        """
        due = self.env_steps // self.every_env_steps * self.every_env_steps
        at_end = self.env_steps - due >= self.num_envs
        return np.where(at_end, self.env_steps, due) * self.action_repeat

    @property
    def scores(self) -> Float[np.ndarray, " evaluation"]:
        """Mean return of each evaluation."""
        return np.array([np.mean(episodes) for episodes in self.returns], float)

    @property
    def name(self) -> str:
        """Which run it is, in messages."""
        return f"{self.arm} on {self.task}, seed {self.seed} ({self.path})"


class Record(NamedTuple):
    """One evaluation: a row of the tidy table."""

    arm: str
    task: str
    seed: int
    env_step: int
    frame: int
    episodes: int
    score: float
    """Mean return of the episodes."""

    std: float
    """Population standard deviation of their returns."""


def read_runs(roots: Sequence[Path], source: Source = "training") -> list[RunScores]:
    """Reads all runs in folders, however deep they are in there.

    Arms are named as a sweep has named them (`arms.json` in its folder), and after what tells
    the settings apart where there is no sweep.

    Args:
        roots: Run folders, sweeps, or folders of these.
        source: Which evaluations are read.

    Raises:
        UsageError: If a folder holds no run, a run has no settings of this version, or a run
            is there twice.
    """
    paths, arms = [], []
    for root in roots:
        found = list(find_runs(root))
        if not found:
            raise UsageError(f"{root} holds no run folder.")
        paths += found
        arms += [_arm_of_sweep(path) for path in found]
    configs = [RunFolder(path).config() for path in paths]
    labels = label_arms(configs)
    runs = [
        _read(path, config, arm or label, source)
        for path, config, arm, label in zip(paths, configs, arms, labels, strict=True)
    ]
    seen: dict[tuple[str, str, int], RunScores] = {}
    for run in runs:
        other = seen.setdefault((run.arm, run.task, run.seed), run)
        if other is not run:
            raise UsageError(
                f"{other.path} and {run.path} are both {run.arm}, {run.task}, seed "
                f"{run.seed}; a run must be given once."
            )
    return sorted(runs, key=lambda run: (run.arm, run.task, run.seed))


def find_runs(root: Path) -> Iterable[Path]:
    """Run folders in a folder, itself included; what holds several seeds is none itself."""
    for path, folders, files in os.walk(root):
        folders.sort()
        if "config.json" in files and not any(name.startswith("seed") for name in folders):
            folders.clear()
            yield Path(path)


def tidy(runs: Iterable[RunScores]) -> list[Record]:
    """All evaluations of runs, one row for each."""
    return [
        Record(
            run.arm,
            run.task,
            run.seed,
            int(env_step),
            int(env_step) * run.action_repeat,
            len(episodes),
            float(np.mean(episodes)),
            float(np.std(episodes)),
        )
        for run in runs
        for env_step, episodes in zip(run.env_steps, run.returns, strict=True)
    ]


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Writes the tidy table."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Record._fields)
        writer.writerows(records)


def _read(path: Path, config: Config, arm: str, source: Source) -> RunScores:
    read = _training_scores if source == "training" else _checkpoint_scores
    every = config.evaluation.every if source == "training" else config.checkpoint.every
    evaluations = read(path)
    return RunScores(
        path=path,
        task=config.task,
        arm=arm,
        seed=config.seed,
        pixels=config.env.observations == "pixels",
        action_repeat=config.env.action_repeat,
        num_envs=config.env.num_envs,
        every_env_steps=every,
        env_steps=np.array(sorted(evaluations), int),
        returns=tuple(evaluations[env_step] for env_step in sorted(evaluations)),
    )


def _training_scores(path: Path) -> dict[int, tuple[float, ...]]:
    return {line["env_step"]: tuple(line["scores"]) for line in RunFolder(path).read("scores")}


def _checkpoint_scores(path: Path) -> dict[int, tuple[float, ...]]:
    """Episodes of all seeds of each checkpoint's evaluation."""
    file = path / CHECKPOINT_SCORES
    if not file.exists():
        return {}
    try:
        checkpoints = json.loads(file.read_text())["checkpoints"]
    except (ValueError, KeyError) as error:
        raise UsageError(f"{file} is not what `scripts/evaluate.py --out` writes.") from error
    return {
        checkpoint["env_step"]: tuple(
            score for evaluation in checkpoint["evaluations"] for score in evaluation["scores"]
        )
        for checkpoint in checkpoints
    }


def _arm_of_sweep(path: Path) -> str | None:
    """The arm that a run's sweep has it in."""
    for folder in path.resolve().parents:
        file = folder / ARMS
        if file.exists():
            arms = json.loads(file.read_text())
            return arms.get(path.resolve().relative_to(folder).parts[0])
    return None
