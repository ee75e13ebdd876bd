"""A run that is killed and resumed, compared bit by bit with the same run not killed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....checkpoints import checkpoint
from ....config import Config
from ....config.flags import parse_settings
from ....config.train_ratio import train_ratio
from ....errors import MachineError
from ....runs.folder import RunFolder
from ...process import ended_too_early, start_training
from .part import Row, Task
from .sizes import QUIET


def resume(task: Task) -> Iterator[Row]:
    """Yield the seconds of both runs, and whether agent and replay at their ends are the same."""
    whole, killed = (_settings(task, task.folder / name) for name in ("whole", "killed"))
    yield "not killed", {"seconds": _finish(whole, task.folder / "whole.log")}
    yield "killed", _kill(killed, task.folder / "killed.log")
    yield "resumed", {"seconds": _finish(killed, task.folder / "resumed.log")}
    ends = [_end(config) for config in (whole, killed)]
    same = {name: ends[0][name] == ends[1][name] for name in ends[0]}
    yield "bits", {f"same {name}": value for name, value in same.items()}
    if not all(same.values()):
        differing = " and ".join(name for name, value in same.items() if not value)
        raise MachineError(f"A run that was killed and resumed has another {differing}.")


def _settings(task: Task, run: Path) -> Config:
    """Read the settings of a short run with several checkpoints."""
    flags = [*task.sizes.resume, *QUIET, "--deterministic", "--run", str(run)]
    config = parse_settings(flags)
    env_steps = train_ratio(config).first_env_step + task.sizes.env_steps
    every = task.sizes.env_steps // 5
    flags = ["--env_steps", f"{env_steps}", "--checkpoint.every", f"{every}", "--log.every", "16"]
    return parse_settings(flags, config)


def _finish(config: Config, log: Path) -> float:
    """Train to the end; return the seconds that took."""
    began = time.perf_counter()
    process = start_training(config, log=log)
    if process.wait() != 0:
        raise ended_too_early(process, log)
    return time.perf_counter() - began


def _kill(config: Config, log: Path) -> dict[str, Any]:
    """Train until there is a checkpoint after the first update, and kill the process."""
    folder, first = RunFolder(Path(str(config.run))), train_ratio(config).first_env_step
    process = start_training(config, log=log)
    while process.poll() is None and max(folder.checkpoints(), default=0) < first:
        time.sleep(0.005)
    process.kill()
    if process.wait() >= 0:
        raise ended_too_early(process, log)
    logged = [line["env_step"] for line in folder.read("metrics")]
    return {"checkpoint at env step": max(folder.checkpoints()), "logged": max(logged, default=0)}


def _end(config: Config) -> dict[str, Any]:
    """Return checksums of agent and replay at the end of a run."""
    folder = RunFolder(Path(str(config.run)))
    manifest = checkpoint.read(folder.latest_checkpoint()).manifest
    replay = manifest["replay"]["files"]
    return {
        "agent": manifest["files"]["agent.eqx"]["sha256"],
        "replay": sorted((file["first_step"], file["sha256"]) for file in replay),
    }
