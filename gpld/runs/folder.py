"""Run folder: the files that a training run leaves behind.

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
    prediction.json     what `scripts/prediction_study.py` found

Where several seeds are trained together, the folder holds settings and versions, and such a
folder for each of them, `seed0`, `seed1` and so on.

Every line of a `.jsonl` file carries three clocks: `env_step`, `frame` and `update`.
"""

import dataclasses
import errno
import itertools
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import Config, from_dict
from ..envs import EnvSpec, spec_from_json
from ..errors import LeftOut, MachineError, UsageError
from ..machine import files
from ..machine.files import parse_json, read_bytes, read_json

_GIB = 2**30


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number; JSON has others, which nothing here writes."""
    try:
        return not isinstance(value, bool) and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_number, value))


def _is_machine(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("devices"), list):
        return False
    texts = (value.get("processor"), *value["devices"])
    return files.is_count(value.get("cores")) and all(isinstance(text, str) for text in texts)


_Checks = Mapping[str, Callable[[Any], bool]]

# What is read of each kind of line, and of run.json.
_LINES: Mapping[str, _Checks] = {
    "metrics": {"env_step": files.is_count, "time/seconds": _is_number_or_null},
    "episodes": {"env_step": files.is_count, "score": _is_number_or_null},
    "scores": {"env_step": files.is_count, "mean": _is_number, "scores": _are_numbers},
}
_RECORD: _Checks = {
    "commit": lambda value: value is None or isinstance(value, str),
    "jax": lambda value: value is None or isinstance(value, dict),
    "machine": _is_machine,
    "precision": lambda value: isinstance(value, str),
    "resumed": lambda value: isinstance(value, list),
    "versions": lambda value: isinstance(value, dict),
}

LOGS = ("metrics.jsonl", "episodes.jsonl", "scores.jsonl")
"""Files of lines that a run writes."""

# Whatever a run and the scripts write into its folder.
_OWN = re.compile(
    r"(config|run|wandb|sensitivity|prediction|evaluation)\.json|(metrics|episodes|scores)\.jsonl|run\.lock|"
    r"(learning_curve|sensitivity)\.png|checkpoints|replay|faults|tensorboard|videos|predictions|"
    r"profile|wandb|(seed|process)[0-9]+"
)

# Nine digits or more, and a number where several are of the same env step.
_CHECKPOINT = re.compile(r"([0-9]{9}|[1-9][0-9]{9,})(\.[1-9][0-9]*)?")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Files of one run: their paths, and reading and writing them."""

    path: Path

    def check_links(self) -> None:
        """Check that no symbolic link would lead what a run writes out of its folder.

        The folder itself may be a link. Those that have other names in it, and those that W&B
        makes in `wandb/`, are no concern of a run.

        Raises:
            UsageError: If something is a symbolic link.
        """
        try:
            own = [path for path in self.path.iterdir() if _OWN.fullmatch(path.name)]
        except OSError as error:
            raise files.file_error(self.path, error) from error
        for path in own:
            # Folders of seeds and processes are looked at by themselves, where they may be written.
            apart = re.fullmatch(r"wandb|(seed|process)[0-9]+", path.name)
            within = () if apart else files.links(path)
            for link in [path] if path.is_symlink() else within:
                raise UsageError(
                    f"{link} is a symbolic link, through which a run would write elsewhere: put "
                    "what it names in its place, or remove it."
                )

    def checkpoint_paths(self) -> list[Path]:
        """Return the folders of all checkpoints, the earliest first; other names are left out."""
        paths = self.path.glob("checkpoints/*")
        return sorted((p for p in paths if is_checkpoint(p.name) and p.is_dir()), key=clocks)

    def checkpoints(self) -> dict[int, Path]:
        """Return the last checkpoint of each env step, the earliest first."""
        return {clocks(path)[0]: path for path in self.checkpoint_paths()}

    def checkpoint_path(self, env_step: int, number: int = 0) -> Path:
        """Return the folder of a checkpoint with these `clocks`."""
        suffix = f".{number}" if number else ""
        return self.path / "checkpoints" / f"{env_step:09d}{suffix}"

    def new_checkpoint_path(self, env_step: int) -> Path:
        """Return the folder of a new checkpoint; there may be others of the same env step."""
        own = [clocks(path) for path in self.checkpoint_paths()]
        first = max((number for step, number in own if step == env_step), default=-1) + 1
        paths = (self.checkpoint_path(env_step, number) for number in itertools.count(first))
        return next(path for path in paths if not os.path.lexists(path))

    def latest_checkpoint(self) -> Path:
        """Return the checkpoint of the most env steps.

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

    def find_checkpoint(self, env_step: int | None) -> Path:
        """Return the checkpoint of an env step, or the latest if that is None.

        Raises:
            UsageError: If there is no checkpoint of that env step.
            MachineError: If the run has left none.
        """
        latest, checkpoints = self.latest_checkpoint(), self.checkpoints()
        if env_step is None:
            return latest
        if env_step not in checkpoints:
            steps = ", ".join(map(str, checkpoints))
            raise UsageError(
                f"`env_step` must be that of a checkpoint in {self.path} ({steps}), got {env_step}."
            )
        return checkpoints[env_step]

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
        path = self.path / f"{name}.jsonl"
        with files.writing(self.path), files.open_to_append(path) as file:
            file.write(text.encode())

    def read(self, name: str) -> list[dict[str, Any]]:
        """Read the lines of `{name}.jsonl`; none if there is no such file.

        Those that cannot be understood are left out, each with a warning that names it. So is
        a last line that a full disk or a kill has cut off.

        Raises:
            UsageError: If it is no file of lines.
            MachineError: If it cannot be read.
        """
        path = self.path / f"{name}.jsonl"
        if not os.path.lexists(path):
            return []
        found = []
        *lines, rest = read_bytes(path, limit=_GIB).split(b"\n")
        for number, line in enumerate([*lines, rest] if rest else lines, 1):
            where = f"{path}, line {number}"
            try:
                if number > len(lines):
                    raise UsageError(f"{where} is incomplete.")
                values = parse_json(line, where)
                _check(values, _LINES.get(name, {}), where)
            except UsageError as error:
                warnings.warn(f"{error} It is left out.", LeftOut, stacklevel=2)
            else:
                found.append(values)
        return found

    def has_lines(self) -> bool:
        """Return whether anything was logged."""
        return any(size > 0 for size in self.log_sizes().values())

    def log_sizes(self) -> dict[str, int]:
        """Return the size in bytes of each file of lines."""
        return {path.name: path.stat().st_size for path in self._logs()}

    def sync_logs(self) -> None:
        """Flush all lines to the disk.

        Raises:
            OSError: If they cannot be.
        """
        for path in self._logs():
            with files.open_to_append(path) as file:
                files.sync(file)

    def rewind(self, sizes: Mapping[str, int]) -> list[str]:
        """Cut the files of lines back to their sizes at the moment from which the run resumes.

        Args:
            sizes: What `log_sizes` gave then.

        Returns:
            What is missing in them, a sentence for each file of which a loss of power has taken
            more than that. These end with their last whole line.

        Raises:
            MachineError: If one cannot be cut.
        """
        missing = []
        for path in {self.path / name for name in sizes if name in LOGS} | set(self._logs()):
            size = sizes.get(path.name, 0)
            with files.writing(path):
                there = path.stat().st_size if path.exists() else 0
                kept = _whole_lines(path, min(size, there))
                if kept < there:
                    files.truncate(path, kept)
            if kept < size:
                missing.append(
                    f"{path} has lost {size - kept:,} of {size:,} bytes; it goes on after its "
                    "last whole line"
                )
        return sorted(missing)

    def _logs(self) -> list[Path]:
        return [path for name in LOGS if (path := self.path / name).is_file()]

    def config(self) -> Config:
        """Read the settings of the run.

        Raises:
            UsageError: If there is no run, or its settings are not those of this version.
            MachineError: If they cannot be read.
        """
        values = self._json("config.json")
        try:
            return from_dict(values)
        except ValueError as error:
            raise UsageError(
                f"The settings in {self.path} are not those of this version of gpld: {error}"
            ) from error

    def env_spec(self) -> EnvSpec:
        """Read the shapes and sizes of the run's task.

        Raises:
            UsageError: If there is no run, or its record does not say them.
            MachineError: If it cannot be read.
        """
        try:
            return spec_from_json(self.record().get("env"))
        except ValueError as error:
            path = self.path / "run.json"
            raise UsageError(f"{path} is damaged: its `env` says no task's sizes.") from error

    def record(self) -> dict[str, Any]:
        """Read the run's record: versions, machine, parameter counts and task.

        Raises:
            UsageError: If there is no run, or its record leaves out what every run says.
            MachineError: If it cannot be read.
        """
        record = self._json("run.json")
        # A run that was never resumed has no first, one of version 0.1 no second and its `dtype`.
        given = {"resumed": [], "jax": None, **record}
        given.setdefault("precision", record.get("dtype"))
        _check(given, _RECORD, f"{self.path / 'run.json'}")
        return record

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return read_json(self.path / name)
        except UsageError as error:
            if getattr(error.__cause__, "errno", None) not in (errno.ENOENT, errno.ENOTDIR):
                raise
            raise UsageError(f"{self.path} is not a run folder: it has no {name}.") from error


def is_checkpoint(name: str) -> bool:
    """Return whether a folder of this name in `checkpoints/` is a checkpoint."""
    return _CHECKPOINT.fullmatch(name) is not None


def clocks(path: Path) -> tuple[int, int]:
    """Return the env step of a checkpoint, and its number among those of the same env step."""
    env_step, _, number = path.name.partition(".")
    return int(env_step), int(number or 0)


def _whole_lines(path: Path, size: int) -> int:
    """Count the bytes of whole lines among the first bytes of a file."""
    if size == 0:
        return 0
    with path.open("rb") as file:
        return file.read(size).rfind(b"\n") + 1


def _check(values: Mapping[str, Any], checks: _Checks, where: str) -> None:
    for name, is_right in checks.items():
        if name not in values:
            raise UsageError(f"{where} is damaged: it has no `{name}`.")
        if not is_right(values[name]):
            raise UsageError(f"{where} is damaged: its `{name}` is {values[name]!r:.50}.")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
