"""The last lines of a run, however it ends: where it is, and which commands belong to it."""

import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from . import checkpoint
from .checkpoint import Damaged, Unsuitable
from .config import Config
from .errors import MachineError, UsageError
from .member import planned_runs
from .output import show
from .run_folder import RunFolder
from .units import count


class Ending(contextlib.AbstractContextManager):
    """Shows the lines at its exit, if a run began: around whatever shows errors."""

    def __init__(self, args: Sequence[str]):
        """Of the run that a command line begins, or goes on with.

        Args:
            args: Arguments of `scripts/train.py`.
        """
        self._args = list(args)
        self._run: tuple[Config, Path] | None = None

    def begins(self, config: Config, path: Path) -> None:
        """Takes note of a run's settings and folder; there is nothing in there yet."""
        self._run = config, path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Shows the lines, unless the command was refused."""
        refused = isinstance(error, SystemExit) and error.code == UsageError.exit_code
        if self._run is None or refused or not (self._run[1] / "config.json").exists():
            return
        with contextlib.suppress(UsageError, MachineError, OSError):  # the folder has vanished
            show("\n".join(describe(*self._run, self._args)))


def describe(config: Config, path: Path, args: Sequence[str]) -> list[str]:
    """The last lines.

    Args:
        config: Settings.
        path: Folder of the run, or of the runs of all seeds.
        args: Arguments that it was started with.
    """
    runs = [RunFolder(run.path) for run in planned_runs(config, path)]
    steps = [max(run.checkpoints(), default=None) for run in runs]
    saved = [step for step in steps if step is not None]
    if len(saved) < len(runs):
        return [
            f"not saved   {path}: it ended before its first checkpoint",
            f"begin anew  {_command('train', *_without_folder(args))}",
        ]
    env_step = min(saved)
    updates = _updates(runs[0])
    made = "" if updates is None else f", {count(updates, 'update') if updates else 'no update'}"
    if env_step >= config.env_steps:
        longer = ("--resume", str(path), "--env_steps", str(2 * config.env_steps))
        lines = [
            f"finished    {path}: {env_step:,} env steps{made}",
            f"longer      {_command('train', *longer)}",
        ]
    else:
        # Each of several machines has a command of its own.
        own = args if config.distributed.processes > 1 else ("--resume", str(path))
        lines = [
            f"saved       {path}: {env_step:,} of {config.env_steps:,} env steps{made}",
            f"go on       {_command('train', *own)}",
        ]
    if any(run.read("scores") for run in runs):
        look = _command("plot", str(path))
    else:
        look = _command("evaluate", *(str(run.path) for run in runs))
    return [*lines, f"look        {look}"]


def _command(script: str, *args: str) -> str:
    """A command line for one of the scripts, beside the one that is running."""
    running = Path(sys.argv[0])
    folder = running.parent if running.name == "train.py" else Path("scripts")
    return shlex.join(["python", str(folder / f"{script}.py"), *args])


def _updates(run: RunFolder) -> int | None:
    """Updates up to the last checkpoint; None if that cannot be read."""
    try:
        return checkpoint.read(run.latest_checkpoint()).manifest["update"]
    except (Damaged, Unsuitable, MachineError):
        return None


def _without_folder(args: Sequence[str]) -> list[str]:
    """Arguments without the folder of the run, so that another one is made."""
    kept, named = [], False
    for arg in args:
        if named:
            named = False
        elif arg in ("--run", "--resume"):
            named = True
        elif not arg.startswith(("--run=", "--resume=")):
            kept.append(arg)
    return kept
