"""The probes as pure functions in JAX, for programs that hold their environments.

Rewards, lengths and observations are those of `probe`; what is random is drawn with keys of JAX.
"""

import abc
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .. import probe
from ..timestep import EnvSpec, TimeStep


class ProbeState(NamedTuple):
    """A probe between two time steps."""

    timestep: TimeStep
    elapsed: Int[Array, ""]
    memory: Float[Array, ""]
    """Sign that the first step has chosen, or the cue or number that was shown."""


class FunctionalProbe(abc.ABC):
    """Probe as pure functions, with a clock."""

    original: ClassVar[type[probe.Probe]]

    @property
    def spec(self) -> EnvSpec:
        """Shapes and sizes of the task."""
        return self.original(seed=0).spec

    def reset(self, key: PRNGKeyArray) -> ProbeState:
        """Start an episode."""
        memory = self._begin(key)
        return self._state(memory, memory, 0.0, jnp.int32(0), is_terminal=jnp.zeros((), bool))

    def step(
        self, state: ProbeState, action: Float[Array, " action"] | Int[Array, ""]
    ) -> ProbeState:
        """Advance the clock and answer the sign of `action`, or its number."""
        elapsed = state.elapsed + 1
        chosen = action if self.original.discrete else jnp.sign(action[0])
        memory, signal, reward, is_terminal = self._answer(state.memory, chosen, elapsed)
        return self._state(memory, signal, reward, elapsed, is_terminal=is_terminal)

    def _state(self, memory, signal, reward, elapsed, *, is_terminal) -> ProbeState:
        length = self.original.length
        timestep = TimeStep(
            observation={
                **self._shown(signal),
                "time": elapsed.astype(jnp.float32) / length,
            },
            reward=jnp.asarray(reward, jnp.float32),
            is_first=elapsed == 0,
            is_last=(elapsed == length) | is_terminal,
            is_terminal=is_terminal,
        )
        return ProbeState(timestep, elapsed, jnp.asarray(memory, jnp.float32))

    def _shown(self, signal) -> dict[str, Array]:
        """Return what is observed of the signal."""
        return {"signal": jnp.asarray(signal, jnp.float32)[None]}

    def _begin(self, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return memory and signal of the first observation."""
        del key
        return jnp.zeros(())

    @abc.abstractmethod
    def _answer(self, memory, sign, elapsed) -> tuple[Array, Array, Array, Bool[Array, ""]]:
        """Return memory, signal, reward and `is_terminal` for this sign or number."""


class DelayedReward(FunctionalProbe):
    """Probe that pays the sign of the first action at the last step."""

    original = probe.DelayedReward

    def _answer(self, memory, sign, elapsed):
        memory = jnp.where(elapsed == 1, sign, memory)
        reward = jnp.where(elapsed == self.original.length, memory, 0.0)
        return memory, memory, reward, jnp.zeros((), bool)


class Termination(FunctionalProbe):
    """Probe that pays 1 at every step, and a negative action terminates."""

    original = probe.Termination

    def _answer(self, memory, sign, elapsed):
        return memory, jnp.zeros(()), jnp.ones(()), sign < 0


class Memory(FunctionalProbe):
    """Probe that pays 1 if the sign of the last action matches a cue shown at first."""

    original = probe.Memory

    def _begin(self, key):
        return jr.rademacher(key, (), jnp.float32)

    def _answer(self, memory, sign, elapsed):
        right = (elapsed == self.original.length) & (sign == memory)
        return memory, jnp.zeros(()), right.astype(jnp.float32), jnp.zeros((), bool)


class Discrete(FunctionalProbe):
    """Probe that pays 1 for the action whose number is shown."""

    original = probe.Discrete

    def _shown(self, signal):
        return {"number": jnp.asarray(signal, jnp.int32)}

    def _begin(self, key):
        return jr.randint(key, (), 0, self.original.action_size).astype(jnp.float32)

    def _answer(self, memory, sign, elapsed):
        after = (memory + 1) % self.original.action_size
        return after, after, sign == memory, jnp.zeros((), bool)


TASKS = {
    "probe_delayed": DelayedReward,
    "probe_discrete": Discrete,
    "probe_memory": Memory,
    "probe_termination": Termination,
}
