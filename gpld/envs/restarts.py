"""What becomes of workers that fail."""

from collections.abc import Callable

from .worker import Worker, WorkerError


class Restarts:
    """Replaces workers that have failed, as often as is allowed.

    Attributes:
        count: Replacements so far; may be set to go on from those of an earlier process.
        failures: Messages of the errors that led to those of this process, in order.
    """

    count: int
    failures: list[str]

    def __init__(self, start: Callable[[int, int], Worker] | None = None, limit: int = 0):
        """Allows replacements.

        Args:
            start: Starts the worker of an index. The second argument is the number of
                the replacement, counted over all workers, for seeds that none had before.
            limit: Replacements that are allowed in all; 0 does without `start`.
        """
        self.count = 0
        self.failures = []
        self._start, self._limit = start, limit

    def replace(self, index: int, error: WorkerError) -> Worker:
        """Starts a worker in place of one that has failed, and waits until it is ready.

        Should that fail as well, it takes another replacement.

        Args:
            index: Which worker has failed.
            error: How it failed.

        Raises:
            WorkerError: The last failure, if no replacement is left.
        """
        while self._start is not None and self.count < self._limit:
            self.count += 1
            self.failures.append(str(error))
            worker = self._start(index, self.count)
            try:
                worker.spec  # noqa: B018 (waits)
            except WorkerError as another:
                worker.close()
                error = another
            else:
                return worker
        raise error
