"""Run of one seed: what it has of its own where several are trained together."""

import contextlib
import dataclasses
from collections.abc import Iterator

from ..checkpoints.retention import Archive
from ..config import Config
from ..errors import MachineError
from ..replay import AbstractReplay
from ..runs.folder import RunFolder
from ..runs.recorder import Recorder
from .evaluator import Evaluator
from .pictures import Pictures


@dataclasses.dataclass(frozen=True, eq=False)
class SeedRun:
    """Run of one of the seeds that are trained together, or of the only one."""

    config: Config
    """Its settings, as those of a run alone."""

    folder: RunFolder
    replay: AbstractReplay
    archive: Archive
    recorder: Recorder
    evaluate: Evaluator
    pictures: Pictures
    label: str = ""
    """Beginning of its messages, which tells it from the others."""

    @contextlib.contextmanager
    def failing_as(self) -> Iterator[None]:
        """Turn errors of files, numbers or environments into a failure of this run.

        Raises:
            Failure: In place of the error.
        """
        try:
            yield
        except MachineError as error:
            error.args = (f"{self.label}{error}",)
            raise Failure(self, error) from error


class Failure(Exception):
    """Error: one of the runs cannot go on; the others are between two updates."""

    def __init__(self, run: SeedRun, error: Exception):
        """Name the run and what went wrong."""
        super().__init__(str(error))
        self.run, self.error = run, error
