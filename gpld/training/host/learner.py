"""Learning from replay on the host: sample, update, write the latent states back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...agent import AgentState
from ...envs import EnvSpec
from ...losses import Batch
from ...models import StoredLatent
from ...parallel.devices import fetch, local, transfer
from ...parallel.seeds import SeedAxis
from ...replay import Sample
from ...runs.clock import Clock
from .. import failed_updates
from ..experience import refresh, sample, to_batch
from ..seed_run import SeedRun


class UnfinishedUpdate(NamedTuple):
    """One seed's update whose latent states are not written back to replay yet.

    They are written while the device makes the next update, so that neither waits for the other.
    Results depend on that order, so checkpoints include this record.
    """

    sample: Sample
    latents: StoredLatent
    skipped: Float[Array, ""]


class Learner:
    """Updates the agents of all seeds in one program."""

    state: AgentState
    """The agents, stacked."""

    def __init__(
        self,
        seeds: SeedAxis,
        runs: Sequence[SeedRun],
        state: AgentState,
        spec: EnvSpec,
        update: Callable[..., Any],
        *,
        keys: Sequence[PRNGKeyArray],
    ):
        """Take over the agents.

        Args:
            seeds: The axis along which agents are stacked.
            runs: One run per seed.
            state: The agents, stacked and on their devices.
            spec: Observation shapes and action size.
            update: `Programs.update`.
            keys: One random key per run; mixed with the update count.
        """
        self.state = state
        self._seeds, self._runs, self._spec, self._update = seeds, runs, spec, update
        self._keys, self._key = keys, seeds.stack(keys)
        self._batch_size = runs[0].config.share.replay.batch_size
        self._stopwatch = runs[0].recorder.stopwatch
        self._samples: list[Sample] = []  # of the last update
        self._unfinished: list[UnfinishedUpdate | None] = [None] * len(runs)
        self._skips_in_a_row = [0] * len(runs)

    @property
    def batch(self) -> Batch | None:
        """The last batches, stacked and on their devices; None before the first update."""
        batches = [self.last_batch(i) for i in range(len(self._samples))]
        return self._to_devices(batches) if batches else None

    def update(self, clock: Clock) -> Clock:
        """Update every agent once.

        Args:
            clock: Env steps and updates before this one.

        Returns:
            Env steps and updates after it.
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
        clock = clock._replace(update=clock.update + 1)
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
        return clock

    def raise_if_not_learning(self, clock: Clock) -> None:
        """Check that no run has skipped `optimizer.max_skips` updates in a row.

        Raises:
            Failure: If one has, because its loss or gradient was not finite.
        """
        failed_updates.raise_if_too_many(
            self._runs,
            self._skips_in_a_row,
            lambda i: (self.agent(i), self.last_batch(i)),
            clock.env_step,
            keys=self._keys,
        )

    def last_batch(self, index: int) -> Batch | None:
        """Return one agent's last batch as host arrays; None before the first update."""
        return to_batch(self._samples[index].steps, self._spec) if self._samples else None

    def agent(self, index: int) -> AgentState:
        """Return one of the agents."""
        return self._seeds.take(self.state, index)

    def wait(self) -> None:
        """Wait for the device."""
        jax.block_until_ready(self.state)

    def get_state(self, index: int) -> dict[str, Any]:
        """Return one agent's unfinished update and skips in a row; the agent is saved apart."""
        unfinished = self._unfinished[index]
        return {
            "sample": self._samples[index]._asdict() if self._samples else None,
            "latents": None if unfinished is None else fetch(unfinished.latents)._asdict(),
            "skipped": None if unfinished is None else float(unfinished.skipped),
            "skips_in_a_row": self._skips_in_a_row[index],
        }

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the results of `get_state`, one per agent."""
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
