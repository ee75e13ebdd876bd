"""Functional environments behind the interface of a group, for the loop on the host."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...xla import flags
from ..functional.auto_reset import AutoReset, AutoResetState
from ..functional.keys import named, with_keys, without_keys
from ..timestep import EnvState, TimeStep
from .group import Actions, Group, Mask


class FunctionalGroup(Group):
    """Environments with the interface of an `EnvGroup`, whose step is one compiled program.

    The device works between `send` and `recv`.
    """

    def __init__(self, envs: AutoReset, *, seed: int):
        """Take environments; the first step compiles and resets them.

        Args:
            envs: The environments.
            seed: Everything that they draw follows from it.
        """
        self.spec, self.num_envs = envs.spec, envs.num_envs
        # The time step is that of the state, as the environments have made it: numbers that are
        # not finite are dealt with where those of other engines are.
        self._step = jax.jit(
            lambda state, action: envs.step(state, action)[0],
            compiler_options=flags.simulation_options(),
        )
        self._state: AutoResetState = jax.jit(envs.init)(jr.key(seed))
        self._reset_next = np.ones(self.num_envs, bool)

    def send(self, action: Actions, skip: Mask, reset: Mask | None = None) -> None:
        """Start a step of every environment: none is ever made anew, so that none is to `skip`.

        Raises:
            ValueError: If an action that is heeded is not finite, which would otherwise pass
                for divergence of the physics.
        """
        del skip
        if reset is not None and np.any(reset & ~self._reset_next):
            self._reset_next = self._reset_next | reset
            self._state = self._state._replace(due=jnp.asarray(self._reset_next))
        heeded = action[~self._reset_next]
        if not np.all(np.isfinite(heeded)):
            raise ValueError(f"`action` must be finite, got {heeded}.")
        self._state = self._step(self._state, jnp.asarray(action))

    def recv(self) -> TimeStep:
        """Wait for the step."""
        own = TimeStep(*jax.tree.map(np.array, tuple(self._state.env.timestep)))
        timestep = own._replace(is_last=np.array(self._state.due))
        self.interrupted = timestep.is_last & ~own.is_last
        self._reset_next = timestep.is_last
        return timestep

    def get_states(self) -> list[EnvState]:
        """Return the state of each environment in order: its arrays by their place in the tree."""
        arrays = {
            name: np.asarray(array) for name, array in named(without_keys(self._state)).items()
        }
        return [
            {name: array[i].copy() for name, array in arrays.items()} for i in range(self.num_envs)
        ]

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continue from `states`, one per environment.

        Raises:
            ValueError: If they are not of environments like these.
        """
        own = named(without_keys(self._state))
        for name, array in own.items():
            for state in states:
                if state.keys() != own.keys() or np.shape(state[name]) != array.shape[1:]:
                    raise ValueError(f"`states` must be those of this task; {name} is another.")
        leaves = [
            jnp.asarray(np.stack([state[name] for state in states]), array.dtype)
            for name, array in own.items()
        ]
        data = jax.tree.unflatten(jax.tree.structure(self._state), leaves)
        self._state = with_keys(data, self._state)
        self._reset_next = np.array(self._state.due)

    def close(self) -> None:
        """Do nothing: the arrays go with the group."""
