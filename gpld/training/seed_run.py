"""The runs that are trained together, one for each seed."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..checkpoints.retention import Archive
from ..config import Config
from ..envs import WorkerError
from ..errors import MachineError
from ..replay import AbstractReplay
from ..runs.folder import RunFolder
from ..runs.recorder import Recorder
from .evaluator import Evaluator
from .prediction_pictures import Predictor


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One of the runs that are trained together, or the only one."""

    config: Config
    """Its settings, which say nothing about the others."""

    folder: RunFolder
    replay: AbstractReplay
    archive: Archive
    recorder: Recorder
    evaluate: Evaluator
    predict: Predictor
    label: str = ""
    """What its messages begin with, to tell it from the others."""

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """Turns what goes wrong into a failure of this run.

        Raises:
            Failure: If files, numbers or environments of this run failed.
        """
        try:
            yield
        except (MachineError, WorkerError) as error:
            error.args = (f"{self.label}{error}",)
            raise Failure(self, error) from error


class Failure(Exception):
    """One of the runs cannot go on; the others are between two of their steps."""

    def __init__(self, member: Member, error: Exception):
        """Of `member`, because of `error`."""
        super().__init__(str(error))
        self.member, self.error = member, error


class Run(NamedTuple):
    """Folder and settings of a run, before it is begun."""

    path: Path
    config: Config
    label: str


def planned_runs(config: Config, path: Path, process: int = 0) -> list[Run]:
    """The run of each seed: with the settings of a run of its own.

    Args:
        config: Settings of all.
        path: Folder of all; with one seed it is that of the run.
        process: Number of this process, of several that are one run; all but the first write
            what is theirs beside it.
    """
    if process > 0:
        folder = path / f"process{process}"
        return [Run(folder, dataclasses.replace(config, run=str(folder)), f"process {process}: ")]
    if config.seeds == 1:
        return [Run(path, config, "")]
    runs = []
    for seed in range(config.seed, config.seed + config.seeds):
        folder = path / f"seed{seed}"
        own = dataclasses.replace(config, seed=seed, seeds=1, devices=1, run=str(folder))
        runs.append(Run(folder, own, f"seed {seed}: "))
    return runs
