"""Where experience comes from."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from . import agent
from .envs import VectorEnv
from .errors import MachineError
from .experience import to_steps
from .models import Dreamer
from .recorder import Recorder
from .replay import Replay


@runtime_checkable
class Collector(Protocol):
    """Brings a run forward by one env step of every environment."""

    def begin(self) -> None:
        """Starts a new run, instead of `set_state`."""
        ...

    def collect(self, model: Dreamer) -> None:
        """Collects one env step of every environment."""
        ...

    def get_state(self) -> dict[str, Any]:
        """What it needs to go on, as `tree_file` takes it."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        ...


class LiveCollector:
    """Acts in environments and stores what happens."""

    def __init__(
        self,
        envs: VectorEnv,
        replay: Replay,
        recorder: Recorder,
        act: Any,
        model: Dreamer,
        *,
        key: PRNGKeyArray,
    ):
        """Nothing is stepped before `begin` or `set_state`.

        Args:
            envs: Environments, not stepped yet.
            replay: Where the steps go.
            recorder: Told of every step.
            act: `act(model, memory, step, env_step, key)`, compiled.
            model: Networks, of which only the sizes matter here.
            key: Random key; mixed with the env step.
        """
        self._envs, self._replay, self._recorder = envs, replay, recorder
        self._act, self._key = act, key
        self._memory = agent.initial_memory(model, envs.num_envs)

    def begin(self) -> None:
        """Resets all environments, which ignore their first action."""
        self._envs.send(np.zeros((self._envs.num_envs, self._envs.spec.action_size), np.float32))

    def collect(self, model: Dreamer) -> None:
        """Receives a time step, chooses the next action and stores both.

        Raises:
            MachineError: If an action is not finite.
            WorkerError: If environments failed, and may not be replaced.
        """
        recorder, stopwatch = self._recorder, self._recorder.stopwatch
        with stopwatch("environment"):
            step = self._envs.recv()
        with stopwatch("policy"):
            env_step = np.uint32(recorder.env_step)
            self._memory, latent = self._act(model, self._memory, step, env_step, self._key)
            action = np.asarray(self._memory.action)
        if not np.all(np.isfinite(action)):
            where = np.flatnonzero(~np.all(np.isfinite(action), axis=1))
            raise MachineError(
                f"The policy's action is not finite at env step {recorder.env_step}, in "
                f"environments {where.tolist()}: an observation there or a parameter is not."
            )
        self._envs.send(action)  # the environments step while the agent updates
        with stopwatch("replay"):
            self._replay.add(to_steps(step, action, latent))
        recorder.stepped(step, self._envs.interrupted)
        recorder.restarted(self._envs.num_restarts, self._envs.failures)

    def get_state(self) -> dict[str, Any]:
        """The environments, and what the policy remembers in each."""
        leaves = jax.tree.leaves(jax.device_get(self._memory))
        return {"memory": leaves, "envs": self._envs.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        structure = jax.tree.structure(self._memory)
        self._memory = jax.tree.unflatten(structure, map(jnp.asarray, state["memory"]))
        self._envs.set_state(state["envs"])


class OfflineCollector:
    """Collects nothing: the replay is full already, and only the clock goes on."""

    def __init__(self, recorder: Recorder):
        """Counts in `recorder`."""
        self._recorder = recorder

    def begin(self) -> None:
        """Does nothing."""

    def collect(self, model: Dreamer) -> None:
        """Lets the time of one env step of every environment pass."""
        del model
        self._recorder.advance()

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from nothing."""
