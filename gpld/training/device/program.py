"""Acting, stepping, storing, sampling and updating as one compiled program.

It goes through env steps, and after each makes the updates that are due, until it has done what
it was asked for. What it does between two of them, and in which order, is what the host loop
does: `Collector.collect`, `HostTrainer.update`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ... import agent
from ...agent import AgentState, PolicyState
from ...config import Config
from ...envs.functional.auto_reset import AutoReset
from ...losses import Batch
from ...models import StoredLatent
from ...parallel.seeds import SeedAxis
from ...replay import functional
from ...replay.functional import Counters, Layout, Steps, Windows
from ...runs.metrics import Sums, add_metrics, zero_sums
from ...xla import flags
from ..experience import LATENT, by_name, step_specs, to_batch, to_steps
from ..programs import initial_policy_state
from .state import Keys, Learned, ProgramClock, Progress, Records, Request, Training


class DeviceProgram:
    """The program of one agent, or of several at once, with their environments and replays."""

    def __init__(
        self,
        config: Config,
        seeds: SeedAxis,
        env: AutoReset,
        layout: Layout,
        *,
        max_steps: int,
    ):
        """Compile nothing yet.

        Args:
            config: Settings.
            seeds: The axis along which agents are stacked.
            env: Environments of each agent.
            layout: Sizes of each replay.
            max_steps: Most env steps of every environment in one call.
        """
        self._config, self._seeds, self._env = config, seeds, env
        self._layout, self._max_steps = layout, max_steps
        self._specs, self._batch_size = step_specs(config, env.spec), config.replay.batch_size
        # Traced once, for the names of its metrics and in the program.
        self._update = jax.jit(seeds.vmap(self._update_one))
        self.advance = jax.jit(
            eqx.debug.assert_max_traces(self._advanced, max_traces=1),
            donate_argnums=0,
            compiler_options=flags.simulation_options(),
        )

    def begin(self, state: AgentState, env_keys: Sequence[PRNGKeyArray]) -> Training:
        """Return the state that a run begins with.

        Args:
            state: The agents, stacked.
            env_keys: Random key of each agent's environments.
        """
        seeds = self._seeds
        init = jax.jit(seeds.vmap(self._env.init))
        training = Training(
            agent=state,
            policy_state=initial_policy_state(seeds, state.model, self._env.num_envs),
            envs=init(seeds.stack(env_keys)),
            learned=seeds.stack([self._nothing_learned()] * seeds.size),
        )
        # Weak types would be strong ones after the first call, and compiled for again.
        return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), training)

    def metrics(self, training: Training, keys: Keys) -> Sums:
        """Return zero-initialised metric sums of one agent."""
        shapes = jax.eval_shape(self._update, training.agent, training.learned.batch, keys.update)
        return zero_sums(shapes[2])

    def _advanced(
        self,
        steps: Steps,
        training: Training,
        sums: Sequence[Sums],
        clock: ProgramClock,
        keys: Keys,
        request: Request,
    ) -> tuple[Progress, list[Sums], list[Records]]:
        """Collect env steps and make the updates that are due; compiled as `advance`.

        Ends early where actions are not finite, or too many updates in a row were skipped.

        Args:
            steps: Steps in replay; their memory is used again, so the arrays are gone afterwards.
            training: All else, which stays as it is.
            sums: Metric sums of each agent.
            clock: Env steps and updates before.
            keys: Random keys of the agents, stacked.
            request: How far to go.

        Returns:
            The progress, stacked; metric sums and records of each agent.
        """
        seeds = self._seeds
        nothing = Progress(
            steps=steps,
            training=training,
            sums=seeds.stack(sums),
            records=seeds.stack([self._no_records()] * seeds.size),
            finite=seeds.stack([jnp.ones(self._env.num_envs, bool)] * seeds.size),
            clock=clock,
            collected=jnp.int32(0),
            done=jnp.int32(0),
        )

        def owes(now: Progress) -> Bool[Array, ""]:
            return now.clock.update < request.updates_due[now.collected]

        def goes_on(now: Progress) -> Bool[Array, ""]:
            learns = now.training.learned.skips_in_a_row < self._config.optimizer.max_skips
            return (now.done < request.work) & jnp.all(now.finite) & jnp.all(learns)

        def round(now: Progress) -> Progress:
            now = _once(~owes(now), functools.partial(self._collect, keys=keys), now)
            return jax.lax.while_loop(
                lambda now: goes_on(now) & owes(now),
                functools.partial(self._learn, keys=keys),
                now,
            )

        end = jax.lax.while_loop(
            lambda now: goes_on(now) & (owes(now) | (now.collected < request.num_steps)),
            round,
            nothing,
        )
        return end, seeds.unstack(end.sums), seeds.unstack(end.records)

    def _collect(self, now: Progress, *, keys: Keys) -> Progress:
        """Take one env step of every environment of every agent."""
        collect = self._seeds.vmap(self._collect_one, shared=(3, 4))
        steps, policy_state, envs, records, finite = collect(
            now.steps, now.training, now.records, now.clock, now.collected, keys.act
        )
        clock = now.clock
        clock = clock._replace(
            env_step=clock.env_step + np.uint32(self._env.num_envs),
            replay=functional.added(clock.replay, self._layout),
        )
        return now._replace(
            steps=steps,
            training=now.training._replace(policy_state=policy_state, envs=envs),
            records=records,
            finite=finite,
            clock=clock,
            collected=now.collected + 1,
            done=now.done + 1,
        )

    def _collect_one(
        self,
        steps: Steps,
        training: Training,
        records: Records,
        clock: ProgramClock,
        row: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[Steps, PolicyState, PyTree, Records, Bool[Array, " env"]]:
        model, policy_state = training.agent.model, training.policy_state
        # The action was chosen after the last time step; the first one is ignored.
        envs, step = self._env.step(training.envs, policy_state.action)
        key = jr.fold_in(key, clock.env_step)
        policy_state, latent = agent.act(
            model, policy_state, step.observation, step.is_first, step.is_last, key=key
        )
        steps = functional.append(steps, clock.replay, to_steps(step, policy_state.action, latent))
        happened = Records(step.reward, step.is_first, step.is_last, *self._env.cut(envs))
        records = jax.tree.map(lambda rows, new: rows.at[row].set(new), records, happened)
        return (
            steps,
            policy_state,
            envs,
            records,
            agent.is_finite(policy_state.action),
        )

    def _learn(self, now: Progress, *, keys: Keys) -> Progress:
        """Update every agent once, and finish the update before."""
        seeds, clock = self._seeds, now.clock
        draw = seeds.vmap(self._draw_one, shared=(1,))
        windows, batch = draw(now.steps, clock.replay, keys.replay)
        before = now.training.learned
        # Windows are read before any are written to. XLA keeps no order where none follows from
        # the numbers, and would copy all of the replay's latent states at every update.
        zero = _zero_after(batch.context)
        before = before._replace(windows=jax.tree.map(lambda x: x + zero, before.windows))
        state, latents, metrics = self._update(now.training.agent, batch, keys.update)
        clock = clock._replace(
            update=clock.update + 1,
            replay=functional.sampled(clock.replay, self._layout, self._batch_size),
        )
        finish = seeds.vmap(self._finish_one, shared=(2,))
        steps, before = finish(now.steps, before, clock.replay, before.left)
        learned = before._replace(
            batch=batch,
            windows=windows,
            latents=latents,
            skipped=metrics["opt/skipped"].astype(bool),
            left=jnp.ones_like(before.left),
        )
        in_doubt = learned.skips_in_a_row > 0
        steps, learned = _once(
            jnp.any(in_doubt),
            lambda both: finish(*both, clock.replay, in_doubt),
            (steps, learned),
        )
        return now._replace(
            steps=steps,
            training=now.training._replace(agent=state, learned=learned),
            sums=seeds.vmap(add_metrics)(now.sums, metrics),
            clock=clock,
            done=now.done + 1,
        )

    def _draw_one(
        self, steps: Steps, counters: Counters, key: PRNGKeyArray
    ) -> tuple[Windows, Batch]:
        windows = functional.draw(counters, self._layout, self._batch_size, key=key)
        found = functional.read(steps, self._layout, windows, context_only=LATENT)
        return windows, to_batch(found, self._env.spec)

    def _update_one(
        self, state: AgentState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[AgentState, StoredLatent, dict[str, Float[Array, ""]]]:
        key = jr.fold_in(key, state.update)
        return agent.update(state, batch, config=self._config, key=key)

    def _finish_one(
        self, steps: Steps, learned: Learned, counters: Counters, now: Bool[Array, ""]
    ) -> tuple[Steps, Learned]:
        """Write the latent states of an update back to replay, unless it was skipped."""
        skipped, values = learned.skipped, by_name(learned.latents)
        steps = functional.refresh(
            steps, counters, self._layout, learned.windows, values, where=now & ~skipped
        )
        in_a_row = jnp.where(skipped, learned.skips_in_a_row + 1, 0)
        learned = learned._replace(
            left=learned.left & ~now,
            skips_in_a_row=jnp.where(now, in_a_row, learned.skips_in_a_row),
            num_skipped=learned.num_skipped + (now & skipped),
        )
        return steps, learned

    def _nothing_learned(self) -> Learned:
        """Return the record of no update, of one agent."""
        size, window = self._batch_size, self._layout.window

        def zeros(name: str, length: int) -> Array:
            spec = self._specs[name]
            return jnp.zeros((size, length, *spec.shape), spec.dtype)

        found = {name: zeros(name, 1 if name in LATENT else window) for name in self._specs}
        return Learned(
            batch=to_batch(found, self._env.spec),
            windows=Windows(jnp.zeros(size, jnp.int32), jnp.zeros(size, jnp.int32)),
            latents=StoredLatent(*(zeros(name, window - 1) for name in LATENT)),
            skipped=jnp.zeros((), bool),
            left=jnp.zeros((), bool),
            skips_in_a_row=jnp.int32(0),
            num_skipped=jnp.int32(0),
        )

    def _no_records(self) -> Records:
        shape = (self._max_steps, self._env.num_envs)
        flags = jnp.zeros(shape, bool)
        return Records(jnp.zeros(shape), flags, flags, flags, jnp.zeros(shape, jnp.int8))


def _once(condition: Bool[Array, ""], fn: Callable[[Any], Any], value: Any) -> Any:
    """Return `fn(value)` if the condition holds, else `value`.

    A loop of no or one step: it works on its arrays in place, where a `cond` copies them.
    """
    _, value = jax.lax.while_loop(
        lambda state: state[0],
        lambda state: (jnp.zeros((), bool), fn(state[1])),
        (condition, value),
    )
    return value


def _zero_after(tree: PyTree) -> Int[Array, ""]:
    """Return a 0 that is known only once arrays are computed."""
    leaves = [x.ravel() for x in jax.tree.leaves(tree)]
    count = sum((jnp.sum(x == x[0], dtype=jnp.int32) for x in leaves), jnp.int32(0))
    return count // (count + 1)
