"""Training on the device: the host asks the program for some seconds of work at a time."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ...agent import AgentState
from ...config import Config
from ...config.train_ratio import train_ratio
from ...envs import TimeStep
from ...envs.failures import Failures
from ...envs.functional.auto_reset import AutoReset
from ...envs.functional.keys import with_keys, without_keys
from ...losses import Batch
from ...parallel.seeds import SeedAxis
from ...replay import DeviceReplay, Snapshot
from ...replay.functional import Steps
from ...runs.clock import Clock
from ...runs.metrics import Sums
from ...runs.recorder import Recorder
from .. import failed_updates
from ..host.collector import check_finite
from ..seed_run import SeedRun
from .program import DeviceProgram
from .state import Keys, ProgramClock, Records, Request, Training

# Env steps of every environment in one call, at most: the size of the records.
MAX_STEPS = 256
_MAX_WORK = 4096
# Between calls signals are looked for, and nothing is to be done for the device.
_SHORT, _LONG = 0.5, 2.0


class DeviceTrainer:
    """Trains agents in a program that holds their environments and replays as well.

    A call of the program goes on to the next env step after which the host has something to
    do, and is ended before if that takes long. Where calls end changes no result.
    """

    clock: Clock

    def __init__(
        self,
        config: Config,
        seeds: SeedAxis,
        runs: Sequence[SeedRun],
        state: AgentState,
        env: AutoReset,
        *,
        act_keys: Sequence[PRNGKeyArray],
        update_keys: Sequence[PRNGKeyArray],
        env_keys: Sequence[PRNGKeyArray],
    ):
        """Take over the agents, and the steps of the replays.

        Args:
            config: Settings.
            seeds: The axis along which agents are stacked.
            runs: One run per seed.
            state: The agents, stacked and on their device.
            env: Environments of each run.
            act_keys: One random key per run, of its actions; mixed with the env step.
            update_keys: One random key per run, of its updates; mixed with their count.
            env_keys: One random key per run, of its environments.
        """
        self.clock = Clock()
        self._config, self._seeds, self._runs = config, seeds, runs
        self._ratio, self._update_keys = train_ratio(config), update_keys
        replays = [_on_device(run) for run in runs]
        self._counters = replays[0].counters
        self._program = DeviceProgram(config, seeds, env, replays[0].layout, max_steps=MAX_STEPS)
        keys = (act_keys, update_keys, [replay.key for replay in replays])
        self._keys = Keys(*map(seeds.stack, keys))
        self._training = self._program.begin(state, env_keys)
        self._steps = _taken(seeds, replays)
        limit = config.env.max_restarts
        self._failures = [Failures(config.task, env.spec, limit) for _ in runs]
        self._no_sums: Sums = {}
        self._work = 1

    def advance(self, until: int, check: Callable[[], None]) -> None:
        """Go on until an env step, or for a while; as `HostTrainer.advance`."""
        check()
        to_go = -(-(until - self.clock.env_step) // self._config.env.num_envs)
        self._run(min(MAX_STEPS, to_go))
        while self.clock.update < self._ratio.updates_due(self.clock.env_step):
            check()
            self._run(0)
        check()

    @property
    def state(self) -> AgentState:
        """The agents, stacked."""
        return self._training.agent

    @property
    def batch(self) -> Batch | None:
        """The last batches, stacked; None before the first update."""
        return self._training.learned.batch if self.clock.update > 0 else None

    def agent(self, index: int) -> AgentState:
        """Return one of the agents."""
        return self._seeds.take(self._training.agent, index)

    def last_batch(self, index: int) -> Batch | None:
        """Return one agent's last batch as host arrays; None before the first update."""
        batch = self.batch
        return None if batch is None else jax.device_get(self._seeds.take(batch, index))

    def snapshot(self, index: int) -> Snapshot:
        """Return the replay of one run as it is now; what is to be written is on the host."""
        run = self._runs[index]
        replay = _on_device(run)
        steps, place = self._seeds.find(self._steps, index)
        replay.changed(steps, self._counters, place=place)
        snapshot = run.archive.store.snapshot(replay)
        replay.ring.take()
        return snapshot

    def get_state(self, index: int) -> dict[str, Any]:
        """Return environments, policy state and what the last update has left to do."""
        return {"device": [np.asarray(x) for x in jax.tree.leaves(without_keys(self._rest(index)))]}

    def set_states(self, clock: Clock, states: Sequence[Mapping[str, Any]]) -> None:
        """Set the clock, and restore the state of every run."""
        self.clock = clock
        like = self._rest(0)
        structure = jax.tree.structure(like)
        rests = [jax.tree.unflatten(structure, state["device"]) for state in states]
        rest = self._seeds.stack([with_keys(rest, like) for rest in rests])
        self._training = Training(self._training.agent, *rest)
        for failures, run in zip(self._failures, self._runs, strict=True):
            failures.count = run.recorder.restarts

    def _rest(self, index: int) -> PyTree:
        """Return all that changes in a run besides agent and replay."""
        return self._seeds.take(tuple(self._training[1:]), index)

    def _run(self, num_steps: int) -> None:
        """Call the program once, and record what it has done.

        Raises:
            Failure: If one of the runs cannot go on.
        """
        before, num_envs, recorder = self.clock, self._config.env.num_envs, self._runs[0].recorder
        env_steps = [before.env_step + i * num_envs for i in range(MAX_STEPS + 1)]
        due = [self._ratio.updates_due(env_step) for env_step in env_steps]
        began = time.perf_counter()
        with recorder.stopwatch("device"):
            end, sums, records = self._program.advance(
                self._steps,
                self._training,
                self._sums(),
                ProgramClock(jnp.uint32(before.env_step), jnp.int32(before.update), self._counters),
                self._keys,
                Request(jnp.int32(num_steps), jnp.asarray(due, jnp.int32), jnp.int32(self._work)),
            )
            self._steps, self._training = end.steps, end.training
            self._counters = end.clock.replay
            jax.block_until_ready(end)
        self._adapt(time.perf_counter() - began, int(end.done))
        updates, learned = int(end.clock.update), end.training.learned
        collected = int(end.collected)
        self.clock = Clock(env_steps[collected], updates)
        # Each env step with the updates that were made before it.
        clocks = [Clock(env_steps[i + 1], min(due[i], updates)) for i in range(collected)]
        records = jax.device_get(records)
        skipped = np.atleast_1d(learned.num_skipped)
        for run, rows, own, number in zip(self._runs, records, sums, skipped, strict=True):
            _record(run.recorder, clocks, rows)
            if updates > before.update:
                run.recorder.sums = own
            run.recorder.skipped = int(number)
        recorder.show(self.clock)
        for i, rows in enumerate(records):
            self._count_spoilt(i, rows.spoilt[:collected])
        self._check(end.finite, learned.skips_in_a_row)

    def _count_spoilt(self, index: int, spoilt: Int[np.ndarray, "steps env"]) -> None:
        """Count numbers of a run's environments that are not finite."""
        run, failures = self._runs[index], self._failures[index]
        try:
            with run.failing_as():
                for row in spoilt:
                    failures.add_spoilt(row)
        finally:
            run.recorder.restarted(failures.count, failures.messages)

    def _adapt(self, seconds: float, done: int) -> None:
        """Adapt the length of calls: longer after short ones, shorter after long ones."""
        if seconds < _SHORT and done >= self._work:
            self._work = min(_MAX_WORK, 2 * self._work)
        elif seconds > _LONG:
            self._work = max(1, self._work // 2)

    def _sums(self) -> list[Sums]:
        """Return the sums of each run's metrics since its last line of them."""
        if not self._no_sums:
            self._no_sums = self._program.metrics(self._training, self._keys)
        return [run.recorder.sums or self._no_sums for run in self._runs]

    def _check(self, finite: Array, skips_in_a_row: Array) -> None:
        """Check that all runs can go on."""
        before = self.clock.env_step - self._config.env.num_envs
        if not np.all(finite):
            for i, run in enumerate(self._runs):
                policy_state = self._seeds.take(self._training.policy_state, i)
                with run.failing_as():
                    check_finite(np.asarray(policy_state.action), before)
        failed_updates.raise_if_too_many(
            self._runs,
            np.atleast_1d(skips_in_a_row).tolist(),
            lambda i: (self.agent(i), self.last_batch(i)),
            self.clock.env_step,
            keys=self._update_keys,
        )


def _on_device(run: SeedRun) -> DeviceReplay:
    replay = run.replay
    assert isinstance(replay, DeviceReplay)
    return replay


def _taken(seeds: SeedAxis, replays: Sequence[DeviceReplay]) -> Steps:
    """Take the steps of all replays, stacked; empty ones are made on the device."""
    arrays = [replay.ring.take() for replay in replays]
    if replays[0].num_added == 0:
        axes = () if seeds.size == 1 else (seeds.size,)
        return {name: jnp.zeros((*axes, *x.shape), x.dtype) for name, x in arrays[0].items()}
    return jax.tree.map(jnp.array, seeds.stack(arrays))


def _record(recorder: Recorder, clocks: Sequence[Clock], rows: Records) -> None:
    """Record env steps, each at its clock; the rows beyond mean nothing."""
    nothing = np.zeros(rows.reward.shape[1], bool)
    for clock, row in zip(clocks, zip(*rows, strict=True), strict=False):
        reward, is_first, is_last, interrupted, _ = row
        recorder.stepped(clock, TimeStep({}, reward, is_first, is_last, nothing), interrupted)
