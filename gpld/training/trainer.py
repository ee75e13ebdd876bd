"""Interface of the two trainers, on the host and on the device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ..agent import AgentState
from ..losses import Batch
from ..replay import Snapshot
from ..runs.clock import Clock


@runtime_checkable
class Trainer(Protocol):
    """Collects experience and makes the updates that are due, for all seeds in lockstep."""

    clock: Clock

    def advance(self, until: int, check: Callable[[], None]) -> None:
        """Finish the updates that are still due, then collect and make those that follow.

        Ends with no update due, at an env step of its choice that is not after `until`.

        Args:
            until: Env step after which something else is due.
            check: Called where the runs may be stopped; raises something then.

        Raises:
            Failure: If one of the runs cannot go on.
        """
        ...

    @property
    def state(self) -> AgentState:
        """The agents, stacked."""
        ...

    @property
    def batch(self) -> Batch | None:
        """The last batches, stacked; None before the first update."""
        ...

    def agent(self, index: int) -> AgentState:
        """Return one of the agents."""
        ...

    def last_batch(self, index: int) -> Batch | None:
        """Return one agent's last batch as host arrays; None before the first update."""
        ...

    def snapshot(self, index: int) -> Snapshot:
        """Return the replay of one run as it is now."""
        ...

    def get_state(self, index: int) -> dict[str, Any]:
        """Return what one run needs to go on, besides agent, replay and recorder."""
        ...

    def set_states(self, clock: Clock, states: Sequence[Mapping[str, Any]]) -> None:
        """Set the clock, and restore the state of every run."""
        ...
