"""Start of a run: its folder, whether it may go there, and what is recorded first."""

import contextlib
import dataclasses
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..config import Config, differences, flatten, lasting, to_dict
from ..envs import (
    EnvOptions,
    EnvSpec,
    choose_backend,
    env_factory,
    register,
    runs_code,
    spec_to_json,
)
from ..errors import MachineError, UsageError
from ..machine.files import lock, open_to_append, write_json, writing
from ..machine.output import show
from ..machine.provenance import provenance
from ..suite import same_task
from ..xla.choices import Choices
from ..xla.jax_settings import check_jax_settings, jax_settings
from .folder import RunFolder


class PlannedRun(NamedTuple):
    """Folder and settings of a run that has not begun."""

    path: Path
    config: Config
    label: str
    """Beginning of its messages, where several are trained together."""


def planned_runs(config: Config, path: Path, process: int = 0) -> list[PlannedRun]:
    """Plan the run of each seed, with the settings of a run alone.

    Args:
        config: Settings of all.
        path: Folder of all; with one seed it is that of the run.
        process: Number of this process, of several that are one run; all but the first write
            what is theirs beside it.
    """
    if process > 0:
        folder = path / f"process{process}"
        own = dataclasses.replace(config, run=str(folder))
        return [PlannedRun(folder, own, f"process {process}: ")]
    if config.seeds == 1:
        return [PlannedRun(path, config, "")]
    runs = []
    for seed in range(config.seed, config.seed + config.seeds):
        folder = path / f"seed{seed}"
        own = dataclasses.replace(config, seed=seed, seeds=1, devices=1, run=str(folder))
        runs.append(PlannedRun(folder, own, f"seed {seed}: "))
    return runs


def default_path(config: Config) -> Path:
    """Return the folder of a run that was given none."""
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    seeds = f"seed{config.seed}"
    if config.seeds > 1:
        seeds = f"seeds{config.seed}-{config.seed + config.seeds - 1}"
    task = re.sub(r"[^\w.-]+", "_", config.task.rpartition("/")[2])
    return Path("runs") / f"{task}-{config.preset}-{seeds}-{time}"


def allow_task(task: str | None) -> None:
    """Allow the code of an environment of one's own to run, whose name the user has given now.

    Raises:
        UsageError: If it is no name.
    """
    if task is not None and runs_code(task):
        with _usage_errors():
            register(task)


def read_settings(folders: Sequence[RunFolder], task: str | None) -> list[Config]:
    """Read the settings of runs whose tasks are about to be made, and check that they can be.

    Args:
        folders: The runs.
        task: The task of at least one, once more, if it is code of the user's; the path of its
            file may be another.

    Raises:
        UsageError: If there is no run, none of this task, or no such task here.
        MachineError: If a run cannot be read.
    """
    configs = [folder.config() for folder in folders]
    if task is not None:
        same = [same_task(task, config.task) for config in configs]
        if not any(same):
            known = " or ".join(dict.fromkeys(config.task for config in configs))
            raise UsageError(f"`--task` must be the task of the run, {known}, got {task}.")
        allow_task(task)
        configs = [
            dataclasses.replace(config, task=task) if is_same else config
            for config, is_same in zip(configs, same, strict=True)
        ]
    moves = [describe_move(*run) for run in zip(folders, configs, strict=True)]
    for moved in dict.fromkeys(filter(None, moves)):
        show(moved)
    for config in configs:
        check_task(config)
    return configs


def describe_move(folder: RunFolder, config: Config) -> str | None:
    """Say, if it is so, that the file of a run's task is at another path than it was."""
    before = folder.config().task
    return None if before == config.task else f"{before} is {config.task} now"


def check_task(config: Config) -> None:
    """Check that a run's task exists and can run here, without opening an environment.

    Raises:
        UsageError: If it cannot.
    """
    with _usage_errors():
        env_factory(config.task, **config.env_options)
        choose_backend(config.task, config.env.backend, config.env.observations)


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn errors about arguments of a task into those about settings, which are in `env`."""
    try:
        yield
    except ValueError as error:
        names = "|".join((*EnvOptions.__annotations__, "backend"))
        raise UsageError(re.sub(rf"^`({names})`", r"`env.\1`", str(error))) from None


def check_run(
    path: Path, config: Config, precision: str, *, parts: Collection[Path] = ()
) -> dict[str, Any] | None:
    """Checks that a run may begin, or go on, in a folder; changes nothing.

    Args:
        path: The folder: new, empty, or that of a run with the same settings.
        config: Settings.
        precision: What the networks compute in.
        parts: Folders of runs that may be in there.

    Returns:
        What was recorded of the run that is in there; None if there is none yet.

    Raises:
        UsageError: If the folder holds anything else, or JAX is set up in another way.
        MachineError: If it cannot be read.
    """
    folder, settings = RunFolder(path), jax_settings()
    if (path / "config.json").exists():
        record = folder.record()
        # What counts is what `auto` stands for on the machine; version 0.1 called it dtype.
        stored = record["precision"] if "precision" in record else record["dtype"]
        old = flatten(folder.config()) | {"precision": stored}
        if differing := differences(old, flatten(config) | {"precision": precision}):
            raise UsageError(
                f"{path} holds a run with other settings ({'; '.join(differing)}); use them, or "
                "another folder with `--run`."
            )
        check_jax_settings(record.get("jax"), settings, str(path))
        if config.gpld.schedule.start > 0 and "jax" not in record:
            raise UsageError(
                f"{path} was begun by a version of gpld that counted `gpld.schedule.start` "
                "otherwise, so that its coefficient would jump; go on with that version, or begin "
                "another run with `--run`."
            )
        return record
    try:
        others = {p for p in path.iterdir() if not _is_left_over(p)} - set(parts)
    except OSError as error:
        raise MachineError(f"Cannot read the run folder {path}: {error.strerror}.") from error
    if others:
        raise UsageError(
            f"`--run` must name a new or empty folder or a run, but {path} holds other files, "
            f"such as {min(others).name}; nothing was overwritten."
        )
    return None


def check_checkpoint(path: Path, config: Config, manifest: Mapping[str, Any]) -> None:
    """Check that a run can go on from a checkpoint with these settings.

    Args:
        path: Folder of the run.
        config: Settings to go on with.
        manifest: That of the checkpoint, with the settings that it was made with.

    Raises:
        UsageError: If `env_steps` is below what the run has, or a lasting setting differs from
            the checkpoint's.
    """
    least = min(RunFolder(path).config().env_steps, manifest["env_step"])
    if config.env_steps < least:
        raise UsageError(
            f"`--env_steps` must be at least {least}, which {path} has already, got "
            f"{config.env_steps}."
        )
    saved = manifest.get("settings", {})  # which older ones do not say
    now = {name: value for name, value in lasting(config).items() if name in saved}
    if differing := differences(saved, now):
        raise UsageError(
            f"{path / 'config.json'} was changed after the last checkpoint "
            f"({'; '.join(differing)}); set it back, or begin another run with `--run`."
        )


def record_run(
    path: Path,
    config: Config,
    record: Mapping[str, Any] | None,
    spec: EnvSpec,
    parameters: Mapping[str, int],
    choices: Choices,
) -> None:
    """Write a run's record and settings; those that may change between two starts are updated.

    Args:
        path: The folder.
        config: Settings.
        record: What `check_run` returned.
        spec: Shapes and sizes of the task.
        parameters: Parameter count of each network.
        choices: How the networks are computed on this machine.

    Raises:
        MachineError: If it cannot be written.
    """
    if record is None:
        record = {
            **provenance(),
            "jax": jax_settings(),
            "precision": choices.precision,
            "choices": choices._asdict(),
            "parameters": {**parameters, "total": sum(parameters.values())},
            "env": spec_to_json(spec),
        }
    else:
        again = provenance() | {"choices": choices._asdict()}
        record = {**record, "resumed": [*record.get("resumed", []), again]}
    with writing(path):
        write_json(path / "run.json", record)
        # Last: it makes the folder a run.
        write_json(path / "config.json", to_dict(config))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a run folder against a second process; leaves no trace if no run begins there.

    Raises:
        UsageError: If another process is using it, or links in it lead elsewhere.
        MachineError: If it cannot be written.
    """
    existed, lock_existed = path.exists(), (path / "run.lock").exists()
    with writing(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(f"`--run` must name a folder, but {path} is a file.") from error
        RunFolder(path).check_links()
        file = open_to_append(path / "run.lock")
    with file:
        if not lock(file, lambda reason: show(f"warning: {path}: {reason}", stream=sys.stderr)):
            raise UsageError(f"{path} is being trained by another process.")
        try:
            yield
        finally:
            if not existed and path.exists() and all(map(_is_left_over, path.iterdir())):
                shutil.rmtree(path)
            elif not lock_existed and not (path / "config.json").exists():
                (path / "run.lock").unlink(missing_ok=True)  # a folder of somebody else's


def _is_left_over(path: Path) -> bool:
    """Return whether a start that ended before the run began may have left this file."""
    # Steps on disk are in `replay`, as files without names.
    names = r"run\.json|run\.lock|replay|\.(run|config)\.json\.[0-9a-f]{8}\.tmp"
    return re.fullmatch(names, path.name) is not None
