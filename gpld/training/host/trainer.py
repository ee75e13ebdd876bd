"""Training on the host: collect env steps, then learn from replay."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from ...agent import AgentState
from ...config.train_ratio import TrainRatio
from ...losses import Batch
from ...replay import Snapshot
from ...runs.clock import Clock
from ..seed_run import SeedRun
from .collector import Collector
from .learner import Learner


class HostTrainer:
    """Collects one env step of every environment at a time, then makes the updates due."""

    clock: Clock

    def __init__(
        self,
        runs: Sequence[SeedRun],
        collector: Collector | None,
        learner: Learner,
        ratio: TrainRatio,
    ):
        """Put the two halves together.

        Args:
            runs: One run per seed.
            collector: Collects experience; without one, env steps are only counted.
            learner: Learns from replay.
            ratio: How updates follow env steps.
        """
        self.clock = Clock()
        self._runs, self._collector, self._learner, self._ratio = runs, collector, learner, ratio

    def advance(self, until: int, check: Callable[[], None]) -> None:
        """Finish the updates that are still due or collect, then make those that follow.

        Ends with no update due, at an env step of its choice that is not after `until`.

        Args:
            until: Env step after which something else is due.
            check: Called where the runs may be stopped; raises something then.

        Raises:
            Failure: If one of the runs cannot go on.
        """
        recorder = self._runs[0].recorder
        if not self._is_update_due() and self.clock.env_step < until:
            self._collect()
        while self._is_update_due():
            check()
            with jax.profiler.StepTraceAnnotation("step", step_num=self.clock.update):
                self.clock = self._learner.update(self.clock)
                self._learner.raise_if_not_learning(self.clock)
            recorder.show(self.clock)
        with recorder.stopwatch("update"):
            self._learner.wait()
        recorder.show(self.clock)
        check()

    @property
    def state(self) -> AgentState:
        """The agents, stacked."""
        return self._learner.state

    @property
    def batch(self) -> Batch | None:
        """The last batches, stacked; None before the first update."""
        return self._learner.batch

    def agent(self, index: int) -> AgentState:
        """Return one of the agents."""
        return self._learner.agent(index)

    def last_batch(self, index: int) -> Batch | None:
        """Return one agent's last batch as host arrays; None before the first update."""
        return self._learner.last_batch(index)

    def snapshot(self, index: int) -> Snapshot:
        """Return the replay of one run as it is now; nothing is copied."""
        run = self._runs[index]
        return run.archive.store.snapshot(run.replay)

    def get_state(self, index: int) -> dict[str, Any]:
        """Return what one run needs to go on, besides agent, replay and recorder."""
        collector = {} if self._collector is None else self._collector.get_state(index)
        return {"learner": self._learner.get_state(index), "collector": collector}

    def set_states(self, clock: Clock, states: Sequence[Mapping[str, Any]]) -> None:
        """Set the clock, and restore the state of every run."""
        self.clock = clock
        self._learner.set_states([state["learner"] for state in states])
        if self._collector is not None:
            self._collector.set_states([state["collector"] for state in states])

    def _is_update_due(self) -> bool:
        return self.clock.update < self._ratio.updates_due(self.clock.env_step)

    def _collect(self) -> None:
        if self._collector is not None:
            self.clock = self._collector.collect(self._learner.state.model, self.clock)
        else:
            num_envs = self._runs[0].config.env.num_envs
            self.clock = self.clock._replace(env_step=self.clock.env_step + num_envs)
