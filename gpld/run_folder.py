"""The folder that a training run leaves behind.

    config.json         all settings
    run.json            versions, device, parameter counts, shapes of the task
    metrics.jsonl       means over updates and timings, one line per logging interval
    episodes.jsonl      return and length of every training episode
    scores.jsonl        evaluations, with the return of every episode
    learning_curve.png  both of these over env steps
    checkpoints/        the agent's state after so many env steps, one file each
    sensitivity.json    what `scripts/sensitivity.py` found, and sensitivity.png

Every line of a `.jsonl` file carries three clocks: `env_step`, `frame` and `update`.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .config import Config, from_dict, to_dict
from .envs import ArraySpec, EnvSpec
from .errors import MachineError, UsageError
from .provenance import provenance


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files, and what is written to them."""

    path: Path

    def checkpoint(self, env_step: int) -> Path:
        """Where the agent's state after `env_step` env steps is."""
        return self.path / "checkpoints" / f"{env_step:09d}.eqx"

    def checkpoints(self) -> dict[int, Path]:
        """All checkpoints by env step, the earliest first."""
        return {int(path.stem): path for path in sorted(self.path.glob("checkpoints/*.eqx"))}

    def latest_checkpoint(self) -> Path:
        """The checkpoint of the most env steps.

        Raises:
            MachineError: If the run has left none.
        """
        checkpoints = self.checkpoints()
        if not checkpoints:
            raise MachineError(f"{self.path} holds no checkpoint: its run ended before the first.")
        return checkpoints[max(checkpoints)]

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
        """Lines of `{name}.jsonl`; none if there is no such file."""
        path = self.path / f"{name}.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def config(self) -> Config:
        """Settings of the run."""
        return from_dict(self._json("config.json"))

    def env_spec(self) -> EnvSpec:
        """Shapes and sizes of the run's task."""
        spec = self._json("run.json")["env"]
        observation = {
            name: ArraySpec(tuple(shape), dtype) for name, (shape, dtype) in spec.pop("observation")
        }
        return EnvSpec(observation=observation, **spec)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UsageError(f"{self.path} is not a run folder: it has no {name}.") from error


def default_path(config: Config) -> Path:
    """Where a run goes that was given no folder."""
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{config.task}-{config.preset}-seed{config.seed}-{time}"


def create(path: Path, config: Config, spec: EnvSpec, parameters: Mapping[str, int]) -> RunFolder:
    """Makes the folder of a new run and records what will run.

    Args:
        path: The folder; may exist if it is empty.
        config: Settings.
        spec: Shapes and sizes of the task.
        parameters: Parameter count of each network.

    Raises:
        UsageError: If the folder holds anything; nothing is changed then.
        MachineError: If it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UsageError(
                f"`--run` must name a new or empty folder, but {path} holds "
                f"{_contents(path)}; nothing was overwritten."
            )
        _write_json(path / "config.json", to_dict(config))
        _write_json(path / "run.json", _provenance(spec, parameters))
    except FileExistsError as error:
        raise UsageError(f"`--run` must name a folder, but {path} is a file.") from error
    except OSError as error:
        raise MachineError(f"Cannot write to the run folder {path}: {error.strerror}.") from error
    return RunFolder(path)


def _contents(path: Path) -> str:
    return "another run" if (path / "config.json").exists() else "other files"


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")


def _provenance(spec: EnvSpec, parameters: Mapping[str, int]) -> dict[str, Any]:
    observation = [(k, (s.shape, str(s.dtype))) for k, s in spec.observation.items()]
    return {
        **provenance(),
        "parameters": {**parameters, "total": sum(parameters.values())},
        "env": spec._asdict() | {"observation": observation},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
