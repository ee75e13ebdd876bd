"""Collecting experience on the host: act in the environments and store what happens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ...agent import is_finite
from ...envs import VectorEnv
from ...errors import MachineError
from ...models import Dreamer
from ...parallel.devices import fetch
from ...parallel.seeds import SeedAxis
from ...runs.clock import Clock
from ..experience import on_host, to_steps
from ..programs import initial_policy_state
from ..seed_run import Failure, SeedRun


class Collector:
    """Takes one env step of every environment of every seed at a time."""

    def __init__(
        self,
        seeds: SeedAxis,
        runs: Sequence[SeedRun],
        envs: Sequence[VectorEnv],
        act: Callable[..., Any],
        model: Dreamer,
        *,
        keys: Sequence[PRNGKeyArray],
    ):
        """Step nothing yet.

        Args:
            seeds: The axis along which agents are stacked.
            runs: One run per seed.
            envs: Environments of each run, not stepped yet.
            act: `Programs.act`.
            model: Networks, of which only the sizes matter here.
            keys: One random key per run; mixed with the env step.
        """
        self._seeds, self._runs, self._envs = seeds, runs, envs
        self._act, self._key = act, seeds.stack(keys)
        self._policy_state = initial_policy_state(seeds, seeds.actor(model), envs[0].num_envs)
        self._stopwatch = runs[0].recorder.stopwatch

    def collect(self, model: Dreamer, clock: Clock) -> Clock:
        """Receive time steps, choose the next actions, and store both with the latent states.

        Args:
            model: Networks of all agents, stacked.
            clock: Env steps and updates before these.

        Returns:
            Env steps and updates after them.

        Raises:
            Failure: If an action is not finite, or environments failed and may not be
                replaced. Replay and clock are unchanged then.
        """
        seeds, runs = self._seeds, self._runs
        with self._stopwatch("environment"):
            for envs in self._envs:
                if not envs.pending:  # at the very beginning: all reset, whatever the action
                    envs.send(envs.no_action())
            for run, envs in zip(runs, self._envs, strict=True):
                self._wait(run, envs)
        with self._stopwatch("policy"):
            step = seeds.put_acting(seeds.stack([envs.newest for envs in self._envs]))
            env_step = np.uint32(clock.env_step)
            policy_state, latents = self._act(
                seeds.actor(model), self._policy_state, step, env_step, self._key
            )
            actions = seeds.unstack(np.asarray(policy_state.action))
        for run, action in zip(runs, actions, strict=True):
            with run.failing_as():
                check_finite(action, clock.env_step)
        self._policy_state = policy_state
        steps = [envs.recv() for envs in self._envs]
        for envs, action in zip(self._envs, actions, strict=True):
            envs.send(action)  # the environments step while the agent updates
        with self._stopwatch("replay"):
            for run, step, action, latent in zip(runs, steps, actions, latents, strict=True):
                on_host(run.replay).add(to_steps(step, action, fetch(latent)))
        clock = clock._replace(env_step=clock.env_step + runs[0].config.env.num_envs)
        for run, envs, step in zip(runs, self._envs, steps, strict=True):
            run.recorder.stepped(clock, step, envs.interrupted)
            run.recorder.restarted(envs.num_restarts, envs.failures)
        return clock

    def get_state(self, index: int) -> dict[str, Any]:
        """Return the environments of a run, and what its policy remembers in each."""
        policy_state = jax.device_get(self._seeds.take(self._policy_state, index))
        return {"memory": jax.tree.leaves(policy_state), "envs": self._envs[index].get_state()}

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the results of `get_state`, one per run."""
        structure = jax.tree.structure(self._policy_state)
        leaves = self._seeds.stack([state["memory"] for state in states])
        policy_state = jax.tree.unflatten(structure, map(jnp.asarray, leaves))
        self._policy_state = self._seeds.put_acting(policy_state)
        for envs, state in zip(self._envs, states, strict=True):
            envs.set_state(state["envs"])

    def _wait(self, run: SeedRun, envs: VectorEnv) -> None:
        """Wait for the time steps of a run's environments."""
        try:
            with run.failing_as():
                envs.wait()
        except Failure:
            run.recorder.restarted(envs.num_restarts, envs.failures)
            raise


def check_finite(action: np.ndarray, env_step: int) -> None:
    """Check the actions of all environments, chosen at an env step.

    Raises:
        MachineError: If one is not finite.
    """
    if not np.all(finite := is_finite(action)):
        where = np.flatnonzero(~finite)
        raise MachineError(
            f"The policy's action is not finite at env step {env_step}, in environments "
            f"{where.tolist()}: an observation there or a parameter is not finite either."
        )
