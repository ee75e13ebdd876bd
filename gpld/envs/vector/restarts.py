"""What becomes of environments that fail."""

from collections.abc import Callable

from .worker import Worker, WorkerError


class Restarts:
    """Counts failures and replaces workers that failed, until there are too many.

    Attributes:
        count: Failures so far; may be set to go on from those of an earlier process.
        failures: What happened in this process, and what became of it, in order.
    """

    count: int
    failures: list[str]

    def __init__(self, start: Callable[[int, int], Worker] | None = None, limit: int = 0):
        """Allows failures.

        Args:
            start: Starts the worker of an index. The second argument is the number of
                the failure, counted over all environments, for seeds that none had before.
                None where there are no workers, or none is replaced.
            limit: Failures that are allowed in all.
        """
        self.count = 0
        self.failures = []
        self._start, self._limit = start, limit

    def truncated(self, message: str) -> None:
        """Counts an episode that was truncated because a number in it was not finite.

        Args:
            message: What was not, in a sentence.

        Raises:
            WorkerError: If no failure is allowed any more.
        """
        if self.count >= self._limit:
            raise WorkerError(
                f"{message} It is one failure more than the {self._limit} that "
                "`--env.max_restarts` allows."
            )
        self.count += 1
        self.failures.append(f"{message} Its episode is truncated.")

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
            self.failures.append(f"{error} It was replaced, and its episodes are truncated.")
            worker = self._start(index, self.count)
            try:
                worker.spec  # noqa: B018 (waits)
            except WorkerError as another:
                worker.close()
                error = another
            else:
                return worker
        raise error
