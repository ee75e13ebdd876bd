"""Evaluations of a run's checkpoints, in a file of its folder, and whether they are its own."""

import math
import os
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from ...config import Config
from ...errors import UsageError
from ...machine.files import read_json
from ...runs.folder import RunFolder
from ...suite import same_task
from .arms import sweeps_of

CHECKPOINT_SCORES = "evaluation.json"
"""What `scripts/evaluate.py --out` has made of a run's checkpoints, in its folder."""


class CheckpointScores(NamedTuple):
    """Evaluations of a run's checkpoints."""

    actions: str
    """`sampled` or `modes`."""

    seeds: tuple[int, ...]
    """Seeds of the episodes of every checkpoint."""

    returns: dict[int, tuple[float, ...]]
    """Return of every episode, over all seeds, by env step of the checkpoint."""


def read_checkpoint_scores(run: Path) -> CheckpointScores | None:
    """Reads the evaluations of a run's checkpoints; None if there are none.

    Args:
        run: Folder of the run.

    Raises:
        UsageError: If the file is damaged, or holds evaluations of another run.
        MachineError: If it cannot be read.
    """
    file = run / CHECKPOINT_SCORES
    if not file.exists():
        return None
    values, config = read_json(file), RunFolder(run).config()
    command = shlex.join(["python", "scripts/evaluate.py", str(run), "--out", str(file)])
    again = f"`{command}` makes it again"
    try:
        settings, checkpoints = values["settings"], values["checkpoints"]
        actions, returns = settings["actions"], dict(map(_returns, checkpoints))
        if actions not in ("sampled", "modes"):
            raise ValueError(f"actions {actions!r}")
        scores = CheckpointScores(actions, tuple(settings["seeds"]), returns)
        others = [str(c["run"]) for c in checkpoints if not _is_of(c, run, config)]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UsageError(
            f"{file} is not what `scripts/evaluate.py --out` writes ({error!r}); {again}."
        ) from error
    if others:
        raise UsageError(f"{file} holds evaluations of another run, {others[0]!r}; {again}.")
    return scores


def identity(run: Path, config: Config) -> dict[str, Any]:
    """Return the identity of a run that an evaluation keeps, wherever its folder goes.

    Args:
        run: Folder of the run.
        config: Its settings.

    Raises:
        UsageError: If the run does not say when it was started.
    """
    started = RunFolder(run).record().get("started")
    if not isinstance(started, str):
        raise UsageError(f"{run / 'run.json'} does not say when the run was started.")
    return {"task": config.task, "run_seed": config.seed, "run_started": started}


def _returns(checkpoint: dict[str, Any]) -> tuple[int, tuple[float, ...]]:
    """Env step of an evaluation, and the return of each of its episodes.

    Raises:
        ValueError: If they are no numbers, or there is none.
    """
    env_step = checkpoint["env_step"]
    scores = [score for evaluation in checkpoint["evaluations"] for score in evaluation["scores"]]
    if not isinstance(env_step, int) or not 0 <= env_step < 2**53:
        raise ValueError(f"env step {env_step!r}")
    if any(isinstance(score, bool | str) for score in scores):
        raise ValueError(f"returns at env step {env_step} that are no numbers")
    returns = tuple(map(float, scores))
    if not returns or not all(map(math.isfinite, returns)):
        raise ValueError(f"no finite returns at env step {env_step}")
    return env_step, returns


def _is_of(checkpoint: dict[str, Any], run: Path, config: Config) -> bool:
    """Return whether the evaluation of a checkpoint belongs to a run."""
    if not same_task(checkpoint["task"], config.task):
        return False
    if "run_started" in checkpoint:
        own = identity(run, config) | {"task": checkpoint["task"]}
        return all(checkpoint.get(name) == value for name, value in own.items())
    # Version 0.1 recorded the folder alone, which may have been moved or packed since.
    recorded = Path(checkpoint["run"])
    if config.run is not None and recorded == Path(config.run):
        return True
    if os.path.exists(recorded) and recorded.samefile(run):
        return True
    places = [place for _, place in sweeps_of(run)]
    if places:
        return any(recorded.parts[-len(place) :] == place for place in places)
    return not os.path.exists(recorded) and recorded.name in (
        run.absolute().name,
        run.resolve().name,
    )
