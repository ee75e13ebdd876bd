"""The folder that a training run leaves behind.

    config.json         all settings
    run.json            versions, device, parameter counts, shapes of the task
    metrics.jsonl       means over updates and timings, one line per logging interval
    episodes.jsonl      return and length of every training episode
    scores.jsonl        evaluations, with the return of every episode
    learning_curve.png  both of these over env steps
    checkpoints/        what the run can be resumed from, and agents of earlier env steps
    tensorboard/        the metrics again
    videos/             episodes of evaluations
    predictions/        stored sequences, and how the world model thinks they go on
    run.lock            locked while the run is going on
    profile/            a trace of some updates, if `--profile` asked for it
    sensitivity.json    what `scripts/sensitivity.py` found, and sensitivity.png

Where several seeds are trained together, the folder holds settings and versions, and such a
folder for each of them, `seed0`, `seed1` and so on.

Every line of a `.jsonl` file carries three clocks: `env_step`, `frame` and `update`.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .config import Config, from_dict
from .envs import ArraySpec, EnvSpec
from .errors import MachineError, UsageError

_LOGS = ("metrics.jsonl", "episodes.jsonl", "scores.jsonl")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files, and what is written to them."""

    path: Path

    def checkpoint_paths(self) -> list[Path]:
        """Folders of all checkpoints, the earliest first."""
        paths = [path for path in self.path.glob("checkpoints/*") if path.name[0].isdigit()]
        return sorted(paths, key=clocks)

    def checkpoints(self) -> dict[int, Path]:
        """Checkpoints by env step, the earliest first; the last of each env step."""
        return {clocks(path)[0]: path for path in self.checkpoint_paths()}

    def checkpoint_path(self, env_step: int, number: int = 0) -> Path:
        """Folder of a checkpoint, by its `clocks`."""
        suffix = f".{number}" if number else ""
        return self.path / "checkpoints" / f"{env_step:09d}{suffix}"

    def new_checkpoint_path(self, env_step: int) -> Path:
        """Where a checkpoint goes; there may be others of the same env step."""
        numbers = [
            clocks(path)[1] for path in self.checkpoint_paths() if clocks(path)[0] == env_step
        ]
        return self.checkpoint_path(env_step, max(numbers, default=-1) + 1)

    def latest_checkpoint(self) -> Path:
        """The checkpoint of the most env steps.

        Raises:
            MachineError: If the run has left none.
        """
        checkpoints = self.checkpoint_paths()
        if not checkpoints:
            for run in sorted(self.path.glob("seed*/config.json")):
                raise MachineError(
                    f"{self.path} holds the runs of several seeds; name one, such as {run.parent}."
                )
            raise MachineError(f"{self.path} holds no checkpoint: its run ended before the first.")
        return checkpoints[-1]

    @property
    def learning_curve(self) -> Path:
        """Picture of the returns over env steps."""
        return self.path / "learning_curve.png"

    def append(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Appends lines to `{name}.jsonl`; numbers that are not finite become null.

        Raises:
            MachineError: If the file cannot be written.
        """
        text = "".join(json.dumps(_finite(line), allow_nan=False) + "\n" for line in lines)
        try:
            with (self.path / f"{name}.jsonl").open("a") as file:
                file.write(text)
        except OSError as error:
            raise MachineError(f"Cannot write to {self.path}: {error.strerror}.") from error

    def read(self, name: str) -> list[dict[str, Any]]:
        """Lines of `{name}.jsonl`; none if there is no such file.

        A last line that a full disk or a kill has cut off is left out.
        """
        path = self.path / f"{name}.jsonl"
        if not path.exists():
            return []
        *lines, _ = path.read_text().split("\n")
        return [json.loads(line) for line in lines]

    def has_lines(self) -> bool:
        """Whether anything was logged."""
        return any(size > 0 for size in self.log_sizes().values())

    def log_sizes(self) -> dict[str, int]:
        """Bytes of each file of lines."""
        return {path.name: path.stat().st_size for path in self._logs()}

    def sync_logs(self) -> None:
        """Makes sure that all lines are on the disk.

        Raises:
            OSError: If they cannot be.
        """
        for path in self._logs():
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def rewind(self, sizes: Mapping[str, int]) -> list[str]:
        """Cuts the files of lines back to what they were, because the run resumes there.

        Args:
            sizes: What `log_sizes` gave then.

        Returns:
            What is missing in them, a sentence for each file of which a loss of power has taken
            more than that. These end with their last whole line.

        Raises:
            MachineError: If one cannot be cut.
        """
        missing = []
        for path in {self.path / name for name in sizes if name in _LOGS} | set(self._logs()):
            size = sizes.get(path.name, 0)
            try:
                there = path.stat().st_size if path.exists() else 0
                kept = _whole_lines(path, min(size, there))
                if kept < there:
                    files.truncate(path, kept)
            except OSError as error:
                raise MachineError(f"Cannot write to {path}: {error.strerror}.") from error
            if kept < size:
                missing.append(
                    f"{path} has lost {size - kept:,} of {size:,} bytes; it goes on after its "
                    "last whole line"
                )
        return sorted(missing)

    def _logs(self) -> list[Path]:
        return [path for name in _LOGS if (path := self.path / name).is_file()]

    def config(self) -> Config:
        """Settings of the run.

        Raises:
            UsageError: If there is no run, or its settings are not those of this version.
        """
        try:
            return from_dict(self._json("config.json"))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"The settings in {self.path} are not those of this version of gpld: {error}"
            ) from error

    def env_spec(self) -> EnvSpec:
        """Shapes and sizes of the run's task."""
        spec = self.record()["env"]
        observation = {
            name: ArraySpec(tuple(shape), np.dtype(dtype))
            for name, (shape, dtype) in spec.pop("observation")
        }
        return EnvSpec(observation=observation, **spec)

    def record(self) -> dict[str, Any]:
        """Versions, machine, parameter counts and task of the run."""
        return self._json("run.json")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UsageError(f"{self.path} is not a run folder: it has no {name}.") from error


def clocks(path: Path) -> tuple[int, int]:
    """Env step of a checkpoint, and its number among those of the same env step."""
    env_step, _, number = path.name.partition(".")
    return int(env_step), int(number or 0)


def _whole_lines(path: Path, size: int) -> int:
    """Bytes of the whole lines among the first bytes of a file."""
    if size == 0:
        return 0
    with path.open("rb") as file:
        return file.read(size).rfind(b"\n") + 1


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
