"""Where experience comes from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ...envs import VectorEnv
from ...errors import MachineError
from ...models import Dreamer
from ...parallel.devices import fetch
from ...parallel.seeds import Population
from ..experience import on_host, to_steps
from ..seed_run import Failure, Member


@runtime_checkable
class Collector(Protocol):
    """Brings runs forward by one env step of every environment."""

    def begin(self) -> None:
        """Starts new runs, instead of `set_states`."""
        ...

    def collect(self, model: Dreamer) -> None:
        """Collects one env step of every environment; `model` is stacked."""
        ...

    def get_state(self, index: int) -> dict[str, Any]:
        """What one of the runs needs to go on, as `tree_file` takes it."""
        ...

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `get_state` gave for each."""
        ...


class LiveCollector:
    """Acts in environments and stores what happens."""

    def __init__(
        self,
        population: Population,
        members: Sequence[Member],
        envs: Sequence[VectorEnv],
        act: Callable[..., Any],
        model: Dreamer,
        *,
        keys: Sequence[PRNGKeyArray],
    ):
        """Nothing is stepped before `begin` or `set_states`.

        Args:
            population: How the agents act in one program.
            members: Their runs.
            envs: Environments of each, not stepped yet.
            act: That of `Programs`.
            model: Networks, of which only the sizes matter here.
            keys: Random key of each; mixed with the env step.
        """
        self._population, self._members, self._envs = population, members, envs
        self._act, self._key = act, population.stack(keys)
        model = population.placement.actor(model)
        self._memory = population.initial_memory(model, envs[0].num_envs)
        self._stopwatch = members[0].recorder.stopwatch

    def begin(self) -> None:
        """Resets all environments, which ignore their first action."""
        for envs in self._envs:
            envs.send(np.zeros((envs.num_envs, envs.spec.action_size), np.float32))

    def collect(self, model: Dreamer) -> None:
        """Receives time steps, chooses the next actions and stores both.

        Raises:
            Failure: If an action is not finite, or environments failed and may not be
                replaced. Nothing has been collected then.
        """
        population, members = self._population, self._members
        with self._stopwatch("environment"):
            for member, envs in zip(members, self._envs, strict=True):
                try:
                    with member.blamed():
                        envs.wait()
                except Failure:
                    member.recorder.restarted(envs.num_restarts, envs.failures)
                    raise
        with self._stopwatch("policy"):
            steps = [envs.newest for envs in self._envs]
            step = population.placement.seen(population.stack(steps))
            env_step = np.uint32(members[0].recorder.env_step)
            model = population.placement.actor(model)
            memory, latents = self._act(model, self._memory, step, env_step, self._key)
            actions = population.unstack(np.asarray(memory.action))
        for member, action in zip(members, actions, strict=True):
            with member.blamed():
                check_finite(action, member.recorder.env_step)
        self._memory = memory
        taken = list(zip(members, self._envs, actions, latents, strict=True))
        steps = [envs.recv() for envs in self._envs]
        for _, envs, action, _ in taken:
            envs.send(action)  # the environments step while the agent updates
        with self._stopwatch("replay"):
            for step, (member, _, action, latent) in zip(steps, taken, strict=True):
                on_host(member.replay).add(to_steps(step, action, fetch(latent)))
        for step, (member, envs, _, _) in zip(steps, taken, strict=True):
            member.recorder.stepped(step, envs.interrupted)
            member.recorder.restarted(envs.num_restarts, envs.failures)

    def get_state(self, index: int) -> dict[str, Any]:
        """The environments of a run, and what the policy remembers in each."""
        memory = jax.device_get(self._population.member(self._memory, index))
        return {"memory": jax.tree.leaves(memory), "envs": self._envs[index].get_state()}

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `get_state` gave for each."""
        structure = jax.tree.structure(self._memory)
        memory = self._population.stack([state["memory"] for state in states])
        memory = jax.tree.unflatten(structure, map(jnp.asarray, memory))
        self._memory = self._population.placement.seen(memory)
        for envs, state in zip(self._envs, states, strict=True):
            envs.set_state(state["envs"])


class OfflineCollector:
    """Collects nothing: the replays are full already, and only the clocks go on."""

    def __init__(self, members: Sequence[Member]):
        """Counts for these runs."""
        self._members = members

    def begin(self) -> None:
        """Does nothing."""

    def collect(self, model: Dreamer) -> None:
        """Lets the time of one env step of every environment pass."""
        del model
        for member in self._members:
            member.recorder.advance()

    def get_state(self, index: int) -> dict[str, Any]:
        """Nothing."""
        del index
        return {}

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from nothing."""


def check_finite(action: np.ndarray, env_step: int) -> None:
    """Looks at the actions of all environments, chosen when there were so many env steps.

    Raises:
        MachineError: If one is not finite.
    """
    if not np.all(np.isfinite(action)):
        where = np.flatnonzero(~np.all(np.isfinite(action), axis=1))
        raise MachineError(
            f"The policy's action is not finite at env step {env_step}, in environments "
            f"{where.tolist()}: an observation there or a parameter is not."
        )
