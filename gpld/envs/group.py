"""Environments that share a process."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from .timestep import Environment, EnvSpec, TimeStep, join_timesteps


class EnvGroup:
    """Environments of one task, stepped in turn and reset automatically.

    An environment that was never stepped, or whose last time step had `is_last`, is
    reset by the next step: its action is ignored and its time step has `is_first`.
    """

    spec: EnvSpec
    num_envs: int

    def __init__(self, envs: Sequence[Environment]):
        """Takes over `envs`, at least one; `close` closes them."""
        self.spec = envs[0].spec
        self.num_envs = len(envs)
        self._envs = tuple(envs)
        self._reset_next = [True] * len(envs)

    def send(self, action: Float32[np.ndarray, "num_envs action"]) -> None:
        """Sets the actions of the next `recv`."""
        self._action = action

    def recv(self) -> TimeStep:
        """Steps every environment."""
        timesteps = [
            env.reset() if reset else env.step(action)
            for env, action, reset in zip(self._envs, self._action, self._reset_next, strict=True)
        ]
        self._reset_next = [bool(timestep.is_last) for timestep in timesteps]
        return join_timesteps(np.stack, timesteps)

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            env.close()
