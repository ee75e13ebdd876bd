"""Where a run goes, whether it may go there, and what is recorded before it begins."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .config import Config, differences, flatten, to_dict
from .envs import EnvSpec
from .errors import MachineError, UsageError
from .provenance import provenance
from .run_folder import RunFolder


def default_path(config: Config) -> Path:
    """Where a run goes that was given no folder."""
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    seeds = f"seed{config.seed}"
    if config.seeds > 1:
        seeds = f"seeds{config.seed}-{config.seed + config.seeds - 1}"
    return Path("runs") / f"{config.task}-{config.preset}-{seeds}-{time}"


def open_run(
    path: Path,
    config: Config,
    spec: EnvSpec,
    parameters: Mapping[str, int],
    precision: str,
    *,
    parts: Collection[Path] = (),
) -> RunFolder:
    """Makes the folder of a new run, or opens that of a run which is to go on.

    Records what will run; settings that may change between two starts are updated.

    Args:
        path: The folder: new, empty, or that of a run with the same settings.
        config: Settings.
        spec: Shapes and sizes of the task.
        parameters: Parameter count of each network.
        precision: What the networks compute in.
        parts: Folders of runs that may be in there.

    Raises:
        UsageError: If the folder holds anything else; nothing is changed then.
        MachineError: If it cannot be written.
    """
    folder = RunFolder(path)
    try:
        if (path / "config.json").exists():
            record = folder.record()
            _check_same(path, folder.config(), _precision(record), config, precision)
            record.setdefault("resumed", []).append(provenance())
        elif set(path.iterdir()) <= {path / "run.json", path / "run.lock", *parts}:
            record = _record(spec, parameters, precision)
        else:
            raise UsageError(
                f"`--run` must name a new or empty folder or a run, but {path} holds other files; "
                "nothing was overwritten."
            )
        _write_json(path / "run.json", record)
        _write_json(path / "config.json", to_dict(config))  # last: it makes the folder a run
    except OSError as error:
        raise MachineError(f"Cannot write to the run folder {path}: {error.strerror}.") from error
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps a second process out of a run folder, and leaves no trace if no run begins there.

    Raises:
        UsageError: If another process is using it.
        MachineError: If it cannot be written.
    """
    existed = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / "run.lock").open("a")
    except FileExistsError as error:
        raise UsageError(f"`--run` must name a folder, but {path} is a file.") from error
    except OSError as error:
        raise MachineError(f"Cannot write to the run folder {path}: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"`--run` {path} is being trained by another process.") from None
        try:
            yield
        finally:
            if not existed and path.exists() and os.listdir(path) == ["run.lock"]:
                shutil.rmtree(path)


def _check_same(
    path: Path, stored: Config, stored_precision: str, config: Config, precision: str
) -> None:
    # What counts is what `auto` stands for on the machine.
    old = flatten(stored) | {"precision": stored_precision}
    if differing := differences(old, flatten(config) | {"precision": precision}):
        raise UsageError(
            f"{path} holds a run with other settings ({'; '.join(differing)}); use them, or "
            "another folder with `--run`."
        )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(values, indent=2) + "\n")
    temporary.replace(path)


def _precision(record: Mapping[str, Any]) -> str:
    """What a run computes in; its name was another one in version 0.1's records."""
    return record["precision"] if "precision" in record else record["dtype"]


def _record(spec: EnvSpec, parameters: Mapping[str, int], precision: str) -> dict[str, Any]:
    observation = [(k, (s.shape, str(s.dtype))) for k, s in spec.observation.items()]
    return {
        **provenance(),
        "precision": precision,
        "parameters": {**parameters, "total": sum(parameters.values())},
        "env": spec._asdict() | {"observation": observation},
    }
