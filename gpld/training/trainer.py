"""What brings runs forward: on the host, step by step, or as one program on the device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax

from ..agent import AgentState
from ..losses import Batch
from ..replay import Snapshot, TrainRatio
from ..runs.recorder import Recorder
from .host.collector import Collector
from .host.learner import Learner
from .seed_run import Member


@runtime_checkable
class Trainer(Protocol):
    """Collects experience and makes the updates that are due, for runs in lockstep."""

    settled: bool
    """Whether everything is done that follows the last env steps; `advance` takes it back, and
    whoever does those things gives it."""

    @property
    def state(self) -> AgentState:
        """The agents, stacked."""
        ...

    @property
    def batch(self) -> Batch | None:
        """What was trained on last, stacked."""
        ...

    def begin(self) -> None:
        """Starts new runs, instead of `set_states`."""
        ...

    def advance(self, check: Callable[[], None]) -> None:
        """Collects env steps if all is settled, and makes the updates that are due after them.

        Env steps after which something else is due are the last ones.

        Args:
            check: Is called where the runs may be stopped, and raises something then.

        Raises:
            Failure: If one of the runs cannot go on.
        """
        ...

    def agent(self, index: int) -> AgentState:
        """One of the agents."""
        ...

    def last_batch(self, index: int) -> Batch | None:
        """What one of the agents was trained on last, as host arrays."""
        ...

    def snapshot(self, index: int) -> Snapshot:
        """The replay of one of the runs as it is now."""
        ...

    def get_state(self, index: int) -> dict[str, Any]:
        """What one of the runs needs to go on, besides agent, replay and recorder."""
        ...

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `get_state` gave for each."""
        ...


class HostTrainer:
    """Collects one env step of every environment at a time, then learns from replay."""

    settled = True

    def __init__(
        self,
        members: Sequence[Member],
        collector: Collector,
        learner: Learner,
        ratio: TrainRatio,
    ):
        """Puts the two halves together.

        Args:
            members: The runs.
            collector: Where experience comes from.
            learner: What learns from it.
            ratio: How updates follow env steps.
        """
        self._members, self._ratio = members, ratio
        self._collector, self._learner = collector, learner

    @property
    def state(self) -> AgentState:
        """The agents, stacked."""
        return self._learner.state

    @property
    def batch(self) -> Batch | None:
        """What was trained on last, stacked."""
        return self._learner.batch

    def begin(self) -> None:
        """Resets all environments."""
        self._collector.begin()

    def advance(self, check: Callable[[], None]) -> None:
        """Collects once, then makes one update after the other."""
        if self.settled:
            self._collector.collect(self._learner.state.model)
            self.settled = False
        clock = self._clock
        while clock.update < self._ratio.updates_due(clock.env_step):
            check()
            with jax.profiler.StepTraceAnnotation("step", step_num=clock.update):
                self._learner.update()
            clock.show()
        with clock.stopwatch("update"):
            self._learner.wait()
        clock.show()
        check()

    def agent(self, index: int) -> AgentState:
        """One of the agents."""
        return self._learner.agent(index)

    def last_batch(self, index: int) -> Batch | None:
        """What one of the agents was trained on last, as host arrays."""
        return self._learner.last_batch(index)

    def snapshot(self, index: int) -> Snapshot:
        """The replay of one of the runs as it is now, which need not be copied."""
        member = self._members[index]
        return member.archive.store.snapshot(member.replay)

    def get_state(self, index: int) -> dict[str, Any]:
        """What both halves need."""
        return {
            "learner": self._learner.get_state(index),
            "collector": self._collector.get_state(index),
        }

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `get_state` gave for each."""
        self._learner.set_states([state["learner"] for state in states])
        self._collector.set_states([state["collector"] for state in states])

    @property
    def _clock(self) -> Recorder:
        """The first says what time it is for all."""
        return self._members[0].recorder
