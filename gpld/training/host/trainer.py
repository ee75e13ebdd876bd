"""Training on the host: collect env steps, then sample, update, write latent states back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...agent import AgentState
from ...config.train_ratio import train_ratio
from ...envs import EnvSpec
from ...losses import Batch
from ...models import StoredLatent
from ...parallel.devices import fetch, local, transfer
from ...parallel.seeds import SeedAxis
from ...replay import Sample, Snapshot
from ...runs.clock import Clock
from .. import failed_updates
from ..experience import refresh, sample, to_batch
from ..seed_run import SeedRun
from .collector import Collector


class UnfinishedUpdate(NamedTuple):
    """One seed's update whose latent states are not written back to replay yet.

    They are written while the device makes the next update, so that neither waits for the other.
    Results depend on that order, so checkpoints include this record.
    """

    sample: Sample
    latents: StoredLatent
    skipped: Float[Array, ""]


class HostTrainer:
    """Collects one env step of every environment at a time, then makes the updates due."""

    clock: Clock
    state: AgentState
    """The agents, stacked."""

    def __init__(
        self,
        seeds: SeedAxis,
        runs: Sequence[SeedRun],
        state: AgentState,
        spec: EnvSpec,
        update: Callable[..., Any],
        collector: Collector | None,
        *,
        keys: Sequence[PRNGKeyArray],
    ):
        """Take over the agents.

        Args:
            seeds: The axis along which agents are stacked.
            runs: One run per seed.
            state: The agents, stacked and on their devices.
            spec: Observation shapes and action size.
            update: `Programs.update`, which updates the agents of all seeds.
            collector: Collects experience; without one, env steps are only counted.
            keys: One random key per run; mixed with the update count.
        """
        self.clock, self.state = Clock(), state
        self._seeds, self._runs, self._spec, self._update = seeds, runs, spec, update
        self._collector, self._ratio = collector, train_ratio(runs[0].config)
        self._keys, self._key = keys, seeds.stack(keys)
        self._batch_size = runs[0].config.share.replay.batch_size
        self._stopwatch = runs[0].recorder.stopwatch
        self._samples: list[Sample] = []  # of the last update
        self._unfinished: list[UnfinishedUpdate | None] = [None] * len(runs)
        self._skips_in_a_row = [0] * len(runs)

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
                self.update()
            recorder.show(self.clock)
        with self._stopwatch("update"):
            jax.block_until_ready(self.state)
        recorder.show(self.clock)
        check()

    def update(self) -> None:
        """Update every agent once.

        Raises:
            Failure: If a run has skipped `optimizer.max_skips` updates in a row, because its loss
                or gradient was not finite.
        """
        before = self._unfinished
        with self._stopwatch("replay"):
            self._samples = [sample(run.replay, self._batch_size) for run in self._runs]
            batches = [self.last_batch(i) for i in range(len(self._samples))]
        with self._stopwatch("update"):
            self.state, latents, metrics = self._update(
                self.state, self._to_devices(batches), self._key
            )
            metrics = local(metrics)
            jax.block_until_ready(before)  # at most one update is in flight
        self.clock = self.clock._replace(update=self.clock.update + 1)
        self._unfinished = []
        for i, run in enumerate(self._runs):
            skipped = metrics[i]["opt/skipped"]
            self._unfinished.append(UnfinishedUpdate(self._samples[i], latents[i], skipped))
            run.recorder.updated(metrics[i])
        with self._stopwatch("replay"):  # while the device works on the update
            for i, unfinished in enumerate(before):
                self._finish(i, unfinished)
                if self._skips_in_a_row[i] > 0:  # another skip may end the run: wait for it
                    self._finish(i, self._unfinished[i])
                    self._unfinished[i] = None
        failed_updates.raise_if_too_many(
            self._runs,
            self._skips_in_a_row,
            lambda i: (self.agent(i), self.last_batch(i)),
            self.clock.env_step,
            keys=self._keys,
        )

    @property
    def batch(self) -> Batch | None:
        """The last batches, stacked and on their devices; None before the first update."""
        batches = [self.last_batch(i) for i in range(len(self._samples))]
        return self._to_devices(batches) if batches else None

    def last_batch(self, index: int) -> Batch | None:
        """Return one agent's last batch as host arrays; None before the first update."""
        return to_batch(self._samples[index].steps, self._spec) if self._samples else None

    def agent(self, index: int) -> AgentState:
        """Return one of the agents."""
        return self._seeds.take(self.state, index)

    def snapshot(self, index: int) -> Snapshot:
        """Return the replay of one run as it is now; nothing is copied."""
        run = self._runs[index]
        return run.archive.store.snapshot(run.replay)

    def get_state(self, index: int) -> dict[str, Any]:
        """Return what one run needs to go on, besides agent, replay and recorder."""
        unfinished = self._unfinished[index]
        learner = {
            "sample": self._samples[index]._asdict() if self._samples else None,
            "latents": None if unfinished is None else fetch(unfinished.latents)._asdict(),
            "skipped": None if unfinished is None else float(unfinished.skipped),
            "skips_in_a_row": self._skips_in_a_row[index],
        }
        collector = {} if self._collector is None else self._collector.get_state(index)
        return {"learner": learner, "collector": collector}

    def set_states(self, clock: Clock, states: Sequence[Mapping[str, Any]]) -> None:
        """Set the clock, and restore the state of every run."""
        self.clock = clock
        if self._collector is not None:
            self._collector.set_states([state["collector"] for state in states])
        states = [state["learner"] for state in states]
        self._samples = [Sample(**s["sample"]) for s in states if s["sample"] is not None]
        self._skips_in_a_row = [state["skips_in_a_row"] for state in states]
        self._unfinished = [
            None
            if state["latents"] is None
            else UnfinishedUpdate(
                self._samples[i],
                StoredLatent(**state["latents"]),
                jnp.float32(state["skipped"]),
            )
            for i, state in enumerate(states)
        ]

    def _is_update_due(self) -> bool:
        return self.clock.update < self._ratio.updates_due(self.clock.env_step)

    def _collect(self) -> None:
        if self._collector is not None:
            self.clock = self._collector.collect(self.state.model, self.clock)
        else:
            num_envs = self._runs[0].config.env.num_envs
            self.clock = self.clock._replace(env_step=self.clock.env_step + num_envs)

    def _finish(self, index: int, update: UnfinishedUpdate | None) -> None:
        """Write the latent states of an update back to replay, unless it was skipped."""
        if update is None:
            return
        run = self._runs[index]
        if update.skipped:
            self._skips_in_a_row[index] += 1
            run.recorder.skipped += 1
        else:
            refresh(run.replay, update.sample, fetch(update.latents))
            self._skips_in_a_row[index] = 0

    def _to_devices(self, batches: Sequence[Batch | None]) -> Batch:
        return transfer(self._seeds.stack(batches), self._seeds.placement.batches)
