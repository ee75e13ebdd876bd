"""Training on the device: the host asks for some seconds of work at a time."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ...agent import AgentState
from ...config import Config
from ...envs import TimeStep
from ...envs.failures import Failures
from ...envs.functional.auto_reset import AutoReset
from ...losses import Batch
from ...parallel.seeds import Population
from ...replay import DeviceReplay, Snapshot
from ...replay.functional import Steps
from ...runs.metrics import Sums
from ...runs.recorder import Recorder
from .. import failed_updates
from ..clocks import train_ratio
from ..host.collector import check_finite
from ..seed_run import Member
from .program import DeviceProgram
from .state import Clock, Keys, Records, Task, Training

# Env steps of every environment in one call, at most: the size of the records.
_MAX_STEPS = 256
_MAX_WORK = 4096
# Between calls signals are looked for, and nothing is to be done for the device.
_SHORT, _LONG = 0.5, 2.0


class DeviceTrainer:
    """Trains agents in a program that holds their environments and replays as well.

    A call of the program goes on to the next env steps after which the host has something to
    do, and is ended before if that takes long. Where calls end changes no result.
    """

    settled = True

    def __init__(
        self,
        config: Config,
        population: Population,
        members: Sequence[Member],
        state: AgentState,
        env: AutoReset,
        *,
        act_keys: Sequence[PRNGKeyArray],
        update_keys: Sequence[PRNGKeyArray],
        env_keys: Sequence[PRNGKeyArray],
    ):
        """Takes over the agents, and the steps of the replays.

        Args:
            config: Settings.
            population: How the agents go through one program.
            members: Their runs.
            state: The agents, stacked and on their device.
            env: Environments of each.
            act_keys: Random key of each agent's actions; mixed with the env step.
            update_keys: Random key of each agent's updates; mixed with their count.
            env_keys: Random key of each agent's environments.
        """
        self._config, self._population, self._members = config, population, members
        self._ratio, self._update_keys = train_ratio(config), update_keys
        replays = [_on_device(member) for member in members]
        self._counters = replays[0].counters
        self._program = DeviceProgram(
            config, population, env, replays[0].layout, max_steps=_MAX_STEPS
        )
        keys = (act_keys, update_keys, [replay.key for replay in replays])
        self._keys = Keys(*map(population.stack, keys))
        self._training = self._program.begin(state, env_keys)
        self._steps = _taken(population, replays)
        limit = config.env.max_restarts
        self._failures = [Failures(config.task, env.spec, limit) for _ in members]
        self._no_sums: Sums = {}
        self._work = 1

    @property
    def state(self) -> AgentState:
        """The agents, stacked."""
        return self._training.agent

    @property
    def batch(self) -> Batch | None:
        """What was trained on last, stacked."""
        return self._training.learned.batch if self._clock.update > 0 else None

    def begin(self) -> None:
        """The first env steps reset all environments."""

    def advance(self, check: Callable[[], None]) -> None:
        """Goes on until the host has something to do, or for a while."""
        check()
        self._run(self._steps_to_go() if self.settled else 0)
        while self._clock.update < self._ratio.updates_due(self._clock.env_step):
            check()
            self._run(0)
        check()

    def agent(self, index: int) -> AgentState:
        """One of the agents."""
        return self._population.member(self._training.agent, index)

    def last_batch(self, index: int) -> Batch | None:
        """What one of the agents was trained on last, as host arrays."""
        batch = self.batch
        return None if batch is None else jax.device_get(self._population.member(batch, index))

    def snapshot(self, index: int) -> Snapshot:
        """The replay of one of the runs as it is now, copied to the host."""
        member = self._members[index]
        replay = _on_device(member)
        replay.changed(self._population.member(self._steps, index), self._counters)
        snapshot = member.archive.store.snapshot(replay)
        replay.ring.take()
        return snapshot

    def get_state(self, index: int) -> dict[str, Any]:
        """Environments, what the policy remembers, and what the last update has left."""
        return {"device": [np.asarray(x) for x in jax.tree.leaves(_plain(self._rest(index)))]}

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `get_state` gave for each."""
        like = self._rest(0)
        structure = jax.tree.structure(like)
        rests = [jax.tree.unflatten(structure, state["device"]) for state in states]
        rest = self._population.stack([_like(rest, like) for rest in rests])
        self._training = Training(self._training.agent, *rest)
        for failures, member in zip(self._failures, self._members, strict=True):
            failures.count = member.recorder.restarts

    def _rest(self, index: int) -> PyTree:
        """All that changes in a run besides agent and replay."""
        return self._population.member(tuple(self._training[1:]), index)

    @property
    def _clock(self) -> Recorder:
        """The first says what time it is for all."""
        return self._members[0].recorder

    def _steps_to_go(self) -> int:
        """Env steps of every environment until the host has something to do."""
        config, now = self._config, self._clock.env_step
        every = (
            config.evaluation.every,
            config.log.every,
            config.log.report_every,
            config.checkpoint.every,
        )
        left = [config.env_steps - now, *(n - now % n for n in every if n > 0)]
        return min(_MAX_STEPS, -(-min(left) // config.env.num_envs))

    def _run(self, num_steps: int) -> None:
        """Calls the program once, and takes note of what it has done.

        Raises:
            Failure: If one of the runs cannot go on.
        """
        clock, num_envs = self._clock, self._config.env.num_envs
        due = [
            self._ratio.updates_due(clock.env_step + i * num_envs) for i in range(_MAX_STEPS + 1)
        ]
        began = time.perf_counter()
        with clock.stopwatch("device"):
            end, sums, records = self._program.advance(
                self._steps,
                self._training,
                self._sums(),
                Clock(jnp.uint32(clock.env_step), jnp.int32(clock.update), self._counters),
                self._keys,
                Task(jnp.int32(num_steps), jnp.asarray(due, jnp.int32), jnp.int32(self._work)),
            )
            self._steps, self._training = end.steps, end.training
            self._counters = end.clock.replay
            jax.block_until_ready(end)
        self._adapt(time.perf_counter() - began, int(end.done))
        updates, learned = int(end.clock.update), end.training.learned
        collected = int(end.collected)
        self.settled = self.settled and collected == 0
        records = jax.device_get(records)
        for member, own, rows in zip(self._members, sums, records, strict=True):
            _record(member.recorder, rows, own, [min(n, updates) for n in due[: collected + 1]])
        skipped = np.atleast_1d(learned.num_skipped)
        for member, number in zip(self._members, skipped, strict=True):
            member.recorder.skipped = int(number)
        clock.show()
        for i, rows in enumerate(records):
            self._count_spoilt(i, rows.spoilt[:collected])
        self._check(end.finite, learned.skips_in_a_row)

    def _count_spoilt(self, index: int, spoilt: Int[np.ndarray, "steps env"]) -> None:
        """Takes note of numbers of a run's environments that are not finite."""
        member, failures = self._members[index], self._failures[index]
        try:
            with member.blamed():
                for row in spoilt:
                    failures.add_spoilt(row)
        finally:
            member.recorder.restarted(failures.count, failures.messages)

    def _adapt(self, seconds: float, done: int) -> None:
        """Makes calls longer that have ended soon, and those shorter that took long."""
        if seconds < _SHORT and done >= self._work:
            self._work = min(_MAX_WORK, 2 * self._work)
        elif seconds > _LONG:
            self._work = max(1, self._work // 2)

    def _sums(self) -> list[Sums]:
        """Of each agent's metrics since the last line of them."""
        if not self._no_sums:
            self._no_sums = self._program.metrics(self._training, self._keys)
        return [member.recorder.sums or self._no_sums for member in self._members]

    def _check(self, finite: Array, skips_in_a_row: Array) -> None:
        """Looks whether all can go on."""
        population, max_skips = self._population, self._config.optimizer.max_skips
        before = self._clock.env_step - self._config.env.num_envs
        if not np.all(finite):
            for i, member in enumerate(self._members):
                memory = population.member(self._training.memory, i)
                with member.blamed():
                    check_finite(np.asarray(memory.action), before)
        for i, skips in enumerate(np.atleast_1d(skips_in_a_row)):
            if skips < max_skips or (batch := self.last_batch(i)) is None:
                continue
            with self._members[i].blamed():
                raise failed_updates.stopped(
                    self._members[i].folder,
                    self._members[i].config,
                    self.agent(i),
                    batch,
                    self._clock.env_step,
                    skips=int(skips),
                    key=self._update_keys[i],
                )


def _on_device(member: Member) -> DeviceReplay:
    replay = member.replay
    assert isinstance(replay, DeviceReplay)
    return replay


def _taken(population: Population, replays: Sequence[DeviceReplay]) -> Steps:
    """The steps of all replays, stacked; those of the beginning are made on the device."""
    arrays = [replay.ring.take() for replay in replays]
    if replays[0].num_added == 0:
        axes = () if population.size == 1 else (population.size,)
        return {name: jnp.zeros((*axes, *x.shape), x.dtype) for name, x in arrays[0].items()}
    return jax.tree.map(jnp.array, population.stack(arrays))


def _record(recorder: Recorder, rows: Records, sums: Sums, updates: Sequence[int]) -> None:
    """Takes note of env steps and of the updates made before the first and after each."""
    recorder.updated_elsewhere(updates[0], sums)
    nothing = np.zeros(rows.reward.shape[1], bool)
    for row, update in zip(zip(*rows, strict=True), updates[1:], strict=False):
        reward, is_first, is_last, interrupted, _ = row
        recorder.stepped(TimeStep({}, reward, is_first, is_last, nothing), interrupted)
        recorder.updated_elsewhere(update, sums)


def _plain(tree: PyTree) -> PyTree:
    """Random keys as the numbers that they are made of."""
    return jax.tree.map(lambda x: jr.key_data(x) if _is_key(x) else x, tree)


def _like(tree: PyTree, like: PyTree) -> PyTree:
    """Arrays on the device; random keys again where `like` has them."""
    return jax.tree.map(
        lambda x, y: (
            jr.wrap_key_data(jnp.asarray(x), impl=jr.key_impl(y)) if _is_key(y) else jnp.asarray(x)
        ),
        tree,
        like,
    )


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
