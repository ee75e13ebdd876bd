"""Jobs of a sweep: settings, folders, and what is left to do."""

import dataclasses
import os
import re
from pathlib import Path

from ..analysis.scores import ARMS, read_checkpoint_scores
from ..config import Config, differences, flatten
from ..errors import MachineError, UsageError
from ..machine.files import file_error, read_json, write_json
from ..runs.folder import RunFolder
from ..runs.start import planned_runs
from ..suite import canonical_name
from .spec import Sweep


@dataclasses.dataclass(frozen=True)
class Job:
    """One process of a sweep: an arm on a task, with one or several seeds."""

    name: str
    """Its place in the sweep, such as `GPLD/walker_run/seed0`."""

    path: Path
    """Folder of the run, or of the runs of all its seeds."""

    log: Path
    """File for what the job prints."""

    config: Config
    flags: tuple[str, ...]
    """Flags of `scripts/train.py`."""

    evaluation_episodes: int

    @property
    def failure(self) -> Path:
        """File that is there if the job failed when it ran last."""
        return self.log.with_suffix(".failed")

    @property
    def runs(self) -> list[Path]:
        """Run folder of each seed."""
        return [run.path for run in planned_runs(self.config, self.path)]

    @property
    def env_steps_left(self) -> int:
        """Env steps that have not been collected, by the last checkpoints."""
        return max(self.config.env_steps - min(map(_env_steps, self.runs)), 0)

    @property
    def trained(self) -> bool:
        """True if all runs have all their env steps."""
        return self.env_steps_left == 0

    @property
    def unevaluated(self) -> list[Path]:
        """Runs whose last agent has not been evaluated, if that is asked for."""
        episodes = self.evaluation_episodes
        return [run for run in self.runs if episodes and not evaluated(run, episodes)]

    @property
    def finished(self) -> bool:
        """True if nothing is left to do."""
        return self.trained and not self.unevaluated

    def check(self) -> None:
        """Check that what is in its folder is a part of this job.

        Raises:
            UsageError: If it has other settings.
        """
        for run, planned in zip(self.runs, planned_runs(self.config, self.path), strict=True):
            if not (run / "config.json").exists():
                continue
            wanted = flatten(planned.config)
            if wanted["precision"] == "auto":  # settled by the machine, and checked there
                del wanted["precision"]
            if differing := differences(flatten(RunFolder(run).config()), wanted):
                raise UsageError(
                    f"{run} holds a run with other settings ({'; '.join(differing)}); use them, "
                    "or another folder with `--out`."
                )


def plan(sweep: Sweep, root: Path) -> list[Job]:
    """Return all jobs of a sweep: the first seeds of every arm and task, then the next.

    So that there is something to compare early on.

    Args:
        sweep: The sweep.
        root: Its folder.

    Raises:
        UsageError: If settings are bad, or the folder has runs with others.
    """
    folders = {arm: _folder(arm) for arm in sweep.arms}
    if len(set(folders.values())) < len(folders):
        raise UsageError(f"`arms` must differ in letters and digits, got {', '.join(folders)}.")
    for arm, folder in folders.items():  # `..` would lie beside the sweep's folder
        if not folder.strip(".") or len(folder) > 200:
            raise UsageError(f"`arms` must have names of folders, got {arm!r:.200}.")
    if len({canonical_name(task) for task in sweep.tasks}) < len(sweep.tasks):
        raise UsageError(f"`tasks` must be different, got {', '.join(sweep.tasks)}.")
    jobs, parsed = [], dict[tuple[str, str, int], Config]()
    for seeds in sweep.seed_groups:
        own = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
        for task in sweep.tasks:
            for arm, folder in folders.items():
                name = f"{folder}/{_folder(task)}/{own}"
                path = root / name
                key = (arm, task, len(seeds))
                if key not in parsed:
                    parsed[key] = sweep.config(arm, task, seeds, path)
                job = Job(
                    name=name,
                    path=path,
                    log=root / "logs" / f"{name.replace('/', '-')}.log",
                    config=dataclasses.replace(parsed[key], seed=seeds[0], run=str(path)),
                    flags=tuple(sweep.flags(arm, task, seeds, path)),
                    evaluation_episodes=sweep.evaluation_episodes,
                )
                job.check()
                jobs.append(job)
    return jobs


def _folder(name: str) -> str:
    """Return the name of the folder of an arm or task."""
    return re.sub(r"[^\w.,=+-]+", "_", name)


def record(sweep: Sweep, root: Path) -> None:
    """Write the sweep and the names of its arms into its folder.

    Raises:
        UsageError: If the folder holds one whose programs have other seeds.
        MachineError: If it cannot be written.
    """
    path = root / "sweep.json"
    if os.path.lexists(path):
        before = read_json(path).get("seeds_per_program")
        if before != sweep.seeds_per_program:
            raise UsageError(
                f"`seeds_per_program` must be {before}, as in {path}, got "
                f"{sweep.seeds_per_program}."
            )
    arms = {_folder(arm): arm for arm in sweep.arms}
    try:
        (root / "logs").mkdir(parents=True, exist_ok=True)
        if os.path.lexists(root / ARMS):  # arms of before, which the file has no more
            arms = read_json(root / ARMS) | arms
        write_json(path, dataclasses.asdict(sweep))
        write_json(root / ARMS, arms)
    except OSError as error:
        raise file_error(root, error, "written") from error


def _env_steps(run: Path) -> int:
    """Return the env steps that a run can be resumed from, or that it ended with.

    Where checkpoints have been removed to save space, the last evaluation counts, which every
    run makes at its end.
    """
    folder = RunFolder(run)
    if (run / "checkpoints").exists():
        return max(folder.checkpoints(), default=0)
    return max((line["env_step"] for line in folder.read("scores")), default=0)


def evaluated(run: Path, episodes: int) -> bool:
    """Return whether a run's last checkpoint has been evaluated as a sweep does it.

    Args:
        run: Folder of the run.
        episodes: Number of episodes that the sweep asks for.
    """
    try:
        scores = read_checkpoint_scores(run)
    except (UsageError, MachineError):  # not the run's own, or damaged: it is made again
        return False
    if scores is None or (scores.actions, scores.seeds) != ("sampled", (0,)):
        return False
    last = _env_steps(run)
    return any(len(own) == episodes for step, own in scores.returns.items() if step >= last)
