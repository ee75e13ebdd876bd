"""Learning from replay: sample, update, refresh."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...agent import AgentState
from ...envs import EnvSpec
from ...losses import Batch
from ...models import StoredLatent
from ...parallel.devices import fetch, local
from ...parallel.seeds import Population
from ...replay import Sample
from .. import failed_updates
from ..experience import refresh, sample, to_batch
from ..seed_run import Member


class Result(NamedTuple):
    """What an update leaves to be looked at once the device has finished it."""

    latents: StoredLatent
    skipped: Float[Array, ""]


class Student:
    """One of the agents that learn together: what it learns from, and what is left to be done.

    Latent states go back to replay while the device works on the update after theirs, so that
    neither waits for the other. That order is part of the results, and so of what is saved.
    """

    def __init__(self, member: Member, spec: EnvSpec, *, key: PRNGKeyArray):
        """Has learned nothing yet.

        Args:
            member: The run that it belongs to.
            spec: Shapes and sizes of the task.
            key: Random key of its updates, before it is mixed with their count.
        """
        self._member, self._spec, self._key = member, spec, key
        self._config, self._recorder = member.config, member.recorder
        self._sample: Sample | None = None
        self._result: Result | None = None
        self._before: tuple[Sample | None, Result | None] = (None, None)
        self._skips_in_a_row = 0

    @property
    def batch(self) -> Batch | None:
        """What it was trained on last, as host arrays."""
        return None if self._sample is None else to_batch(self._sample.steps, self._spec)

    def draw(self, batch_size: int) -> Batch:
        """Draws what the next update is made on, as host arrays."""
        self._before = (self._sample, self._result)
        self._sample = sample(self._member.replay, batch_size)
        return to_batch(self._sample.steps, self._spec)

    def updated(self, latents: StoredLatent, metrics: dict[str, Float[Array, ""]]) -> None:
        """Takes what the update gives, which the device need not have finished."""
        self._result = Result(latents, metrics["opt/skipped"])
        self._recorder.updated(metrics)

    def wait(self) -> None:
        """Waits for the update before."""
        jax.block_until_ready(self._before[1])

    def finish(self) -> None:
        """Does what the update before has left; where that was skipped, also what this has."""
        self._finish(*self._before)
        if self._skips_in_a_row > 0:  # in doubt it is waited for
            self._finish(self._sample, self._result)
            self._result = None

    def check(self, state: Callable[[], AgentState]) -> None:
        """Looks whether it still learns.

        Args:
            state: Gives the agent after the last update.

        Raises:
            MachineError: If the loss or gradient was not finite too often in a row.
        """
        batch = self.batch
        if self._skips_in_a_row < self._config.optimizer.max_skips or batch is None:
            return
        raise failed_updates.stopped(
            self._member.folder,
            self._config,
            state(),
            batch,
            self._recorder.env_step,
            skips=self._skips_in_a_row,
            key=self._key,
        )

    def get_state(self) -> dict[str, Any]:
        """What the last update left to be done."""
        drawn, result = self._sample, self._result
        return {
            "sample": None if drawn is None else drawn._asdict(),
            "latents": None if result is None else fetch(result.latents)._asdict(),
            "skipped": None if result is None else float(result.skipped),
            "skips_in_a_row": self._skips_in_a_row,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        self._sample = None if state["sample"] is None else Sample(**state["sample"])
        self._result = None
        if state["latents"] is not None:
            latents = StoredLatent(**state["latents"])
            self._result = Result(latents, jnp.float32(state["skipped"]))
        self._skips_in_a_row = state["skips_in_a_row"]

    def _finish(self, trained_on: Sample | None, result: Result | None) -> None:
        """Writes the latent states of an update to replay, unless they are not finite."""
        if trained_on is None or result is None:
            return
        if result.skipped:
            self._skips_in_a_row += 1
            self._recorder.skipped += 1
        else:
            refresh(self._member.replay, trained_on, fetch(result.latents))
            self._skips_in_a_row = 0


class Learner:
    """Trains the agents on replayed sequences, all of them in one program."""

    state: AgentState
    """Of all agents, stacked."""

    def __init__(
        self,
        population: Population,
        members: Sequence[Member],
        state: AgentState,
        spec: EnvSpec,
        update: Callable[..., Any],
        *,
        keys: Sequence[PRNGKeyArray],
    ):
        """Takes over the agents.

        Args:
            population: How they go through one program.
            members: Their runs.
            state: The agents, stacked and on their devices.
            spec: Shapes and sizes of the task.
            update: That of `Programs`.
            keys: Random key of each; mixed with the update count.
        """
        self.state = state
        self._population, self._members, self._update = population, members, update
        self._students = [Student(m, spec, key=key) for m, key in zip(members, keys, strict=True)]
        self._key = population.stack(keys)
        self._batch_size = members[0].config.share.replay.batch_size
        self._stopwatch = members[0].recorder.stopwatch

    @property
    def batch(self) -> Batch | None:
        """What was trained on last, stacked."""
        batches = [student.batch for student in self._students]
        return None if batches[0] is None else self._put(batches)

    def update(self) -> None:
        """Makes one update of every agent.

        Raises:
            Failure: If a loss or gradient was not finite too often in a row.
        """
        with self._stopwatch("replay"):
            batches = [student.draw(self._batch_size) for student in self._students]
        with self._stopwatch("update"):
            batch = self._put(batches)
            self.state, latents, metrics = self._update(self.state, batch, self._key)
            metrics = local(metrics)
            for student in self._students:
                student.wait()
        for student, *result in zip(self._students, latents, metrics, strict=True):
            student.updated(*result)
        with self._stopwatch("replay"):  # while the device works on the update
            for student in self._students:
                student.finish()
        # All are between two updates again, where what one raises leaves the others whole.
        for i, (member, student) in enumerate(zip(self._members, self._students, strict=True)):
            with member.blamed():
                student.check(functools.partial(self.agent, i))

    def last_batch(self, index: int) -> Batch | None:
        """What one of the agents was trained on last, as host arrays."""
        return self._students[index].batch

    def agent(self, index: int) -> AgentState:
        """One of the agents."""
        return self._population.member(self.state, index)

    def wait(self) -> None:
        """Waits for the device."""
        jax.block_until_ready(self.state)

    def get_state(self, index: int) -> dict[str, Any]:
        """What the last update of one left to be done; the agent is saved by itself."""
        return self._students[index].get_state()

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `get_state` gave for each."""
        for student, state in zip(self._students, states, strict=True):
            student.set_state(state)

    def _put(self, batches: Sequence[Batch | None]) -> Batch:
        return self._population.placement.batch(self._population.stack(batches))
