"""Writer of checkpoints: saves all runs at the same moments, beside the training."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..agent import AgentState
from ..errors import MachineError, Unsuitable, UsageError
from ..machine.files import try_all, writing
from ..parallel.hosts import Processes
from ..replay import AbstractReplay
from .retention import Archive, Contents, Moment, Start


class NothingToResumeError(MachineError):
    """Error: there are checkpoints, but none that the runs can resume from."""


class Checkpointer(contextlib.AbstractContextManager):
    """Saves runs beside their training, and finds the moment that all can be resumed from."""

    def __init__(
        self, archives: Sequence[Archive], minutes: float, processes: Processes | None = None
    ):
        """Save nothing yet.

        Args:
            archives: Where the checkpoints of each run are.
            minutes: Minutes after which the last of them are too old.
            processes: Processes with checkpoints of their own, of the same moments.
        """
        self.archives, self._processes = archives, processes or Processes()
        self._minutes = minutes
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None
        self._saved_at = time.monotonic()
        self._moment: Moment | None = None

    def overdue(self) -> bool:
        """Return whether the last checkpoint is older than `checkpoint.minutes`."""
        return time.monotonic() - self._saved_at >= 60 * self._minutes

    def finish_previous(self) -> None:
        """Wait for the checkpoint being written; warn if it could not be."""
        try:
            self.wait()
        except MachineError as error:
            self.archives[0].warn(f"{error} The last checkpoint stays good.")

    def begin(self, contents: Mapping[Archive, Contents]) -> None:
        """Begin to write checkpoints beside the training, once `finish_previous` was called."""
        self._saved_at = time.monotonic()
        self._running = self._executor.submit(_save, contents)

    def wait(self) -> None:
        """Wait for the checkpoint that `begin` began.

        Raises:
            MachineError: If it could not be saved, or older ones could not be deleted.
        """
        running, self._running = self._running, None
        if running is None:
            return
        with writing(self.archives[0].path):
            running.result()

    def __exit__(self, *_: object) -> None:
        """Wait for the checkpoint being written."""
        self.finish_previous()
        self._executor.shutdown()

    def latest(
        self,
        like: AgentState,
        make_replays: Sequence[Callable[[Mapping[str, Any]], AbstractReplay]],
    ) -> list[Start] | None:
        """Load the last intact checkpoints of the same moment in all runs.

        Nothing on disk is changed.

        Args:
            like: A state of an agent's structure.
            make_replays: For each run, makes an empty replay for one that was saved with this
                manifest.

        Returns:
            What each run goes on from; None if nothing was trained yet.

        Raises:
            UsageError: If a checkpoint is not for this process, or runs that were trained have
                none.
            NothingToResumeError: If there are checkpoints, but none can be resumed from.
            MachineError: If one cannot be read.
        """
        try:
            while moment := max(self._common_moments(), default=None):
                damaged = any(archive.was_damaged for archive in self.archives)
                if moment.env_step == 0 and any(self._processes.gather(damaged)):
                    break  # from there all would be done again that damaged ones may still hold
                found = [
                    archive.load(moment, like, make_replay)
                    for archive, make_replay in zip(self.archives, make_replays, strict=True)
                ]
                saved = [one for one in found if one is not None]
                if all(self._processes.gather(len(saved) == len(found))):
                    self._moment = moment
                    return saved
        except Unsuitable as error:
            raise Unsuitable(
                f"{error} Nothing was changed: go on with the version and settings that the run "
                "was made with, or begin another with `--run`."
            ) from error
        numbers = [len(archive.folder.checkpoint_paths()) for archive in self.archives]
        news = [archive.is_new for archive in self.archives]
        numbers = [number for own in self._processes.gather(numbers) for number in own]
        if all(new for own in self._processes.gather(news) for new in own) and min(numbers) == 0:
            return None
        raise self._nothing_to_resume()

    def prepare(self) -> None:
        """Prepare the folders for the checkpoints that follow the one of `latest`.

        Raises:
            MachineError: If one cannot be written to.
        """
        for archive in self.archives:
            archive.prepare(self._moment)

    def _common_moments(self) -> set[Moment]:
        own = set.intersection(*(archive.moments() for archive in self.archives))
        shared = self._processes.gather(sorted(own))
        return set.intersection(*({Moment(*moment) for moment in one} for one in shared))

    def _nothing_to_resume(self) -> UsageError | NothingToResumeError:
        several = len(self.archives) * self._processes.count > 1
        own = [(str(a.folder.path), reason) for a in self.archives for reason in a.damage[:1]]
        for path, reason in (one for process in self._processes.gather(own) for one in process):
            instead = (
                "the others can go on alone with `--resume`"
                if len(self.archives) > 1
                else "begin another run with `--run`"
            )
            return NothingToResumeError(
                f"{path} cannot go on{' with the others' if several else ''}: {reason}. "
                f"Nothing was changed; {instead}."
            )
        last = {str(a.folder.path): max(a.moments(), default=None) for a in self.archives}
        if several:
            steps = ", ".join(
                f"{path} at {'none' if moment is None else moment.env_step}"
                for path, moment in last.items()
            )
            return NothingToResumeError(
                "The runs have no checkpoint of the same moment from which all can go on (the last "
                f"are {steps}): resume each by itself with `--resume`, or begin anew with `--run`."
            )
        [(path, moment)] = last.items()
        if self.archives[0].was_exported:
            return UsageError(
                f"{path} is an exported agent, which has nothing to resume from; `--init.from` "
                "begins a run with its networks."
            )
        return UsageError(
            f"{path} has been trained before, but holds "
            f"{'no checkpoint' if moment is None else 'only that of its beginning'} to resume "
            "from. Nothing was changed; begin another run with `--run`, or delete this one to "
            "begin it anew."
        )


def _save(contents: Mapping[Archive, Contents]) -> None:
    try_all(functools.partial(archive.save, one) for archive, one in contents.items())
    # Not before all are there: at any moment the runs have a checkpoint in common.
    try_all(archive.rotate for archive in contents)
