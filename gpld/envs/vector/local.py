"""Environment of one's own in this process, where its exceptions are failures."""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence

from ...errors import UsageError
from ...machine.subprocesses import describe_error
from ..failures import WorkerError
from ..timestep import Environment, EnvState, TimeStep
from .group import EnvGroup


class LocalGroup(EnvGroup):
    """`EnvGroup` of one environment, in which an exception is a failure as in a worker.

    Whatever the environment raises becomes a `WorkerError`, with its traceback as a note.
    """

    def __init__(self, factory: Callable[..., Environment], seed: int, *, name: str):
        """Make the environment.

        Args:
            factory: Makes it from a keyword argument `seed`.
            seed: Its seed.
            name: What errors call it.

        Raises:
            UsageError: If it is one that is not possible here.
            WorkerError: If it raises anything else.
        """
        self._name = name
        with self._failing():
            super().__init__([factory(seed=seed)])

    def recv(self) -> TimeStep:
        """Step the environment."""
        with self._failing():
            return super().recv()

    def get_states(self) -> list[EnvState]:
        """Return its state, and whether the next step resets it."""
        with self._failing():
            return super().get_states()

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continue from its state."""
        with self._failing():
            super().set_states(states)

    def close(self) -> None:
        """Close the environment; one that has failed may fail at this too."""
        with contextlib.suppress(Exception):
            super().close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            failure = WorkerError(f"{self._name} failed: {describe_error(error)}.")
            failure.add_note(traceback.format_exc())
            raise failure from error
