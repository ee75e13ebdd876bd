"""Run of one seed: what it has of its own where several are trained together."""

import contextlib
import dataclasses
from collections.abc import Iterator

from ..checkpoints.retention import Archive
from ..config import Config
from ..envs.failures import TooManyFailuresError
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
    def failing_as(self, *, saved: type[Exception] = TooManyFailuresError) -> Iterator[None]:
        """Turn errors of files, numbers or environments into a failure of this run.

        Args:
            saved: Errors after which the run can be saved like the others.

        Raises:
            Failure: In place of the error.
        """
        try:
            yield
        except MachineError as error:
            error.args = (f"{self.label}{error}",)
            raise Failure(self, error, saved=isinstance(error, saved)) from error


class Failure(Exception):
    """Error: one of the runs cannot go on; the others are between two updates.

    Attributes:
        run: The run.
        error: What went wrong.
        saved: Whether the run is between two updates too, and can be saved.
    """

    def __init__(self, run: SeedRun, error: Exception, *, saved: bool = False):
        """Name the run and what went wrong."""
        super().__init__(str(error))
        self.run, self.error, self.saved = run, error, saved
