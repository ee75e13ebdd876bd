"""Evaluations of runs, read from their folders.

Everything here is placed in *frames*, control steps of the simulator, which is what the paper
and others plot over; `env_steps` are decisions of the agent. Both are in every record, under
their names, and no function takes a number that could be either.
"""

import contextlib
import csv
import dataclasses
import io
import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ...config import Config
from ...errors import LeftOut, MachineError, UsageError
from ...machine.files import file_error, write_bytes
from ...runs.folder import RunFolder
from .arms import label_arms, sweeps_of, task_name
from .checkpoints import CHECKPOINT_SCORES, read_checkpoint_scores

Source = Literal["training", "checkpoints"]
"""training: the evaluations that a run makes as it goes on. checkpoints: those of its
checkpoints afterwards, in `evaluation.json`; the paper's tables have 20 episodes of them."""

_MOST_FOLDERS = 100_000  # that are searched for runs; those in a run are not


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
    def due_frames(self) -> Int[np.ndarray, " evaluation"]:
        """Frames at which the evaluations became due: they wait until all environments stepped.

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
        """Name of the run in messages."""
        return f"{self.arm} on {self.task}, seed {self.seed} ({self.path})"


def read_runs(
    roots: Sequence[Path],
    source: Source = "training",
    *,
    unreadable: Callable[[str], None] | None = None,
) -> list[RunScores]:
    """Reads all runs in folders, however deep they are in there.

    Arms are named as a sweep has named them (`arms.json` in its folder), and after what tells
    the settings apart where there is no sweep.

    Args:
        roots: Run folders, sweeps, or folders of these.
        source: Which evaluations are read.
        unreadable: Takes a line about each run, or line of one, that cannot be read and is left
            out; None raises what is wrong with the first run.

    Raises:
        UsageError: If a folder holds no run, a run cannot be read, or one is there twice.
        MachineError: If the machine cannot read a run.
    """
    found = list[tuple[Path, Config, str | None]]()
    for root in roots:
        paths = list(find_runs(root))
        if not paths:
            raise UsageError(f"{root} holds no run folder.")
        for path in paths:
            with _left_out(path, unreadable):
                named = next((arm for arm, _ in sweeps_of(path)), None)
                found.append((path, RunFolder(path).config(), named))
    # Before scores are read: an arm has one name, whichever scores of its runs are there.
    labels = label_arms([config for _, config, _ in found])
    runs = list[RunScores]()
    for (path, config, named), label in zip(found, labels, strict=True):
        with _left_out(path, unreadable):
            runs.append(_read(path, config, _one_line(named or "") or label, source))
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
    """Finds the run folders in a folder, itself included; each once, also behind links.

    What holds the runs of several seeds is none itself. A folder that cannot be looked into is
    taken for a run, so that whoever reads it says why. Links to folders that hold `root` are not
    followed.

    Raises:
        UsageError: If it is no name of a folder, or there are more than `_MOST_FOLDERS` in it.
        MachineError: If it cannot be looked into.
    """
    errors: list[OSError] = []
    seen, waiting = set[str](), [str(root)]
    home = Path(os.path.realpath(root))
    for start in waiting:  # what links lead to comes last, and keeps its own name if it has one
        for path, folders, files in os.walk(start, onerror=errors.append):
            folders.sort()
            if os.path.realpath(path) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(path))
            if len(seen) > _MOST_FOLDERS:
                raise UsageError(
                    f"{root} and what links in it lead to are more than {_MOST_FOLDERS:,} folders, "
                    f"the last {path}; name the folders of the runs, or remove such links."
                )
            seeds = [name for name in folders if re.fullmatch(r"seed\d+", name)]
            if "config.json" in files and not any(
                os.path.lexists(os.path.join(path, seed, "config.json")) for seed in seeds
            ):
                folders.clear()
                yield Path(path)
            for folder in (os.path.join(path, name) for name in folders):
                if os.path.islink(folder) and not home.is_relative_to(os.path.realpath(folder)):
                    waiting.append(folder)
    for error in errors:
        path = Path(error.filename)
        if path != root:
            yield path
        elif not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise file_error(root, error) from error


def write_csv(path: Path, runs: Iterable[RunScores]) -> None:
    """Writes a table of all evaluations of runs, one row for each.

    `score` is the mean return of the episodes, `std` their population standard deviation.

    Raises:
        OSError: If it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("arm", "task", "seed", "env_step", "frame", "episodes", "score", "std"))
    for run in runs:
        names = [_cell(run.arm), _cell(run.task), run.seed]
        for env_step, returns in zip(run.env_steps.tolist(), run.returns, strict=True):
            clocks = [env_step, env_step * run.action_repeat, len(returns)]
            writer.writerow([*names, *clocks, float(np.mean(returns)), float(np.std(returns))])
    write_bytes(path, text.getvalue().encode())


def _cell(text: str) -> str:
    """A cell; what a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _one_line(text: str) -> str:
    """Text for tables and files: in one line, and without what UTF-8 cannot have."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())


@contextlib.contextmanager
def _left_out(path: Path, unreadable: Callable[[str], None] | None) -> Iterator[None]:
    """Report why a run, or a line of one, cannot be read, and go on; None raises it."""
    if unreadable is None:
        yield
        return
    with warnings.catch_warnings(record=True) as left_out:
        warnings.simplefilter("always", LeftOut)
        try:
            yield
        except (UsageError, MachineError) as error:
            unreadable(_one_line(f"{path} cannot be read: {error}"))
    for warning in left_out:
        if issubclass(warning.category, LeftOut):
            unreadable(_one_line(str(warning.message)))
        else:  # of somebody else's, and shown as ever
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _read(path: Path, config: Config, arm: str, source: Source) -> RunScores:
    read = _training_scores if source == "training" else _checkpoint_scores
    every = config.evaluation.every if source == "training" else config.checkpoint.every
    evaluations = read(path)
    return RunScores(
        path=path,
        task=_one_line(task_name(config)),
        arm=arm,
        seed=config.seed,
        pixels=config.env.observations == "pixels",
        action_repeat=config.action_repeat,
        num_envs=config.env.num_envs,
        every_env_steps=every,
        env_steps=np.array(sorted(evaluations), int),
        returns=tuple(evaluations[env_step] for env_step in sorted(evaluations)),
    )


def _training_scores(path: Path) -> dict[int, tuple[float, ...]]:
    lines = RunFolder(path).read("scores")
    return {line["env_step"]: tuple(map(float, line["scores"])) for line in lines}


def _checkpoint_scores(path: Path) -> dict[int, tuple[float, ...]]:
    """Episodes of all seeds of each checkpoint's evaluation, with sampled actions."""
    scores = read_checkpoint_scores(path)
    if scores is None:
        return {}
    if scores.actions != "sampled":
        file = path / CHECKPOINT_SCORES
        raise UsageError(
            f"{file} was made with `--actions {scores.actions}`, and scores are of sampled ones: "
            f"`python scripts/evaluate.py {shlex.join([str(path), '--out', str(file)])}` makes it "
            "again."
        )
    return scores.returns
