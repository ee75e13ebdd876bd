"""The last lines of a run, however it ends: where it is, and which commands belong to it."""

import contextlib
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints import checkpoint
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.writer import NothingToResumeError
from ..config import Config
from ..config.flags import value_of
from ..envs import runs_code
from ..envs.failures import TooManyFailuresError
from ..errors import LeftOut, MachineError, UsageError
from ..machine.output import show
from ..runs.folder import RunFolder
from ..runs.start import planned_runs
from ..units import count


class Ending(contextlib.AbstractContextManager):
    """Context that shows the last lines of a run at its exit, around whatever shows errors."""

    def __init__(self, args: Sequence[str], directory: str | None = None):
        """Remember the command line that begins a run, or resumes it.

        Args:
            args: Arguments of `scripts/train.py`.
            directory: Where it was called; None is the working directory.
        """
        self._args, self._directory = list(args), directory or os.getcwd()
        self._run: tuple[Config, Path] | None = None

    def begins(self, config: Config, path: Path) -> None:
        """Remember a run's settings and folder, in which there is nothing yet."""
        self._run = config, path

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Show the lines, unless the command was refused or there is nothing to resume from."""
        refused = isinstance(error, SystemExit) and (
            error.code == UsageError.exit_code
            or isinstance(error.__context__, NothingToResumeError)
        )
        if self._run is None or refused:
            return
        with (
            contextlib.suppress(UsageError, MachineError, OSError),  # no folder any more
            contextlib.chdir(self._directory),  # which code of the user's may have left
        ):
            if (self._run[1] / "config.json").exists():
                config, path = self._run
                limit, cause = config.env.max_restarts, getattr(error, "__context__", None)
                more = ()
                if isinstance(cause, TooManyFailuresError):
                    more = ("--env.max_restarts", str(limit + 10))
                lines = describe(config, path, self._args, complete=error is None, more=more)
                show("\n".join(lines))


def describe(
    config: Config,
    path: Path,
    args: Sequence[str],
    *,
    complete: bool,
    more: Sequence[str] = (),
) -> list[str]:
    """Describe where a run is, and which commands resume it and look at it.

    Args:
        config: Settings.
        path: Folder of the run, or of the runs of all seeds.
        args: Arguments that it was started with.
        complete: Whether it came to its end. One that has made all env steps has not, if its last
            evaluation failed.
        more: Settings without which it would end again at once.

    Returns:
        The lines.
    """
    runs = [RunFolder(run.path) for run in planned_runs(config, path)]
    # What is stored runs no code of the user's.
    own = ("--task", config.task) if runs_code(config.task) else ()
    resume = ("--resume", str(path), *own, *more)
    if not all(run.checkpoint_paths() for run in runs):
        resumed = value_of(args, "--resume") is not None  # it has the settings
        anew = resume if resumed else args
        return [
            f"not saved   {path}: it ended before its first checkpoint",
            f"begin anew  {command('train', *anew)}",
        ]
    saved = [found for run in runs if (found := _last(run)) is not None]
    if len(saved) < len(runs):
        return [f"not saved   {path}: no checkpoint of it can be resumed from"]
    last = min(saved, key=lambda found: found.env_step)
    env_step, updates = last.env_step, last.manifest["update"]
    made = f", {count(updates, 'update') if updates else 'no update'}"
    if complete and env_step >= config.env_steps:
        lines = [
            f"finished    {path}: {env_step:,} env steps{made}",
            f"longer      {command('train', *resume, '--env_steps', str(2 * config.env_steps))}",
        ]
    else:
        # Each of several machines has a command of its own.
        again = args if config.distributed.processes > 1 else resume
        lines = [
            f"saved       {path}: {env_step:,} of {config.env_steps:,} env steps{made}",
            f"go on       {command('train', *again)}",
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOut)  # nothing is made of the lines here
        scored = any(run.read("scores") for run in runs)
    if scored:
        lines.append(f"look        {command('plot', str(path))}")
    evaluate = command("evaluate", *(str(run.path) for run in runs), *own)
    return [*lines, f"evaluate    {evaluate}"]


def command(name: str, *args: str) -> str:
    """Return a command line for `gpld` or a script, whichever is running."""
    running = Path(sys.argv[0])
    if running.name.startswith("gpld "):
        return shlex.join(["gpld", name, *args])
    folder = running.parent if running.name == "train.py" else Path("scripts")
    return shlex.join(["python", str(folder / f"{name}.py"), *args])


def _last(run: RunFolder) -> Checkpoint | None:
    """Return the last checkpoint to resume from, as far as manifests tell."""
    for path in reversed(run.checkpoint_paths()):
        with contextlib.suppress(UsageError, MachineError):
            if (found := checkpoint.read(path)).resumable:
                return found
    return None
