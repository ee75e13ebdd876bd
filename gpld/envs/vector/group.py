"""Groups of environments, the parts of a vector environment."""

import abc
import contextlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Shaped

from ..timestep import (
    ANEW,
    Environment,
    EnvSpec,
    EnvState,
    TimeStep,
    blank_timestep,
    join_timesteps,
)

Actions = Shaped[np.ndarray, "num_envs ..."]
"""Of all environments: an axis before those of `EnvSpec.action`."""

Mask = Bool[np.ndarray, " num_envs"]
"""Some of the environments."""


LOST: EnvState = {ANEW: True, "reset_next": True}
"""State of an environment that has failed and was not replaced."""


class Group(abc.ABC):
    """Environments of one task that are stepped together and reset automatically.

    An environment that was never stepped, or whose last time step had `is_last`, is
    reset by the next step: its action is ignored and its time step has `is_first`.

    Attributes:
        spec: Shapes and sizes of the task.
        num_envs: Number of environments.
        interrupted: Environments whose episode the last step has cut short; False for none.
    """

    spec: EnvSpec
    num_envs: int
    interrupted: Mask | bool = False

    @abc.abstractmethod
    def send(self, action: Actions, skip: Mask, reset: Mask | None = None) -> None:
        """Set what the next step does, and begin it where something else carries it out.

        Args:
            action: Actions of all environments.
            skip: Environments that it leaves alone.
            reset: Environments that it resets wherever they are, besides those that are due.
        """

    def start(self) -> None:  # noqa: B027 (most have nothing to do)
        """Begin the step that `send` has set, where only a thread lets the caller go on."""

    @abc.abstractmethod
    def recv(self) -> TimeStep:
        """Step every environment, or wait for the step.

        The time step of one that is skipped is of zeros and has `is_last`.
        """

    @abc.abstractmethod
    def get_states(self) -> list[EnvState]:
        """Return the state of each environment in order, and whether the next step resets it."""

    @abc.abstractmethod
    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continue from `states`, one per environment."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what the environments hold; they are not used afterwards."""


class LostGroup(Group):
    """Place of environments that have failed once too often: it only ends their episodes."""

    def __init__(self, spec: EnvSpec, num_envs: int):
        """Have as many time steps as there were environments."""
        self.spec, self.num_envs, self.interrupted = spec, num_envs, True

    def send(self, action: Actions, skip: Mask, reset: Mask | None = None) -> None:
        """Note which episodes were to begin."""
        self._is_first = np.zeros(self.num_envs, bool) if reset is None else reset.copy()

    def recv(self) -> TimeStep:
        """Return blank time steps."""
        blank = join_timesteps(np.stack, [blank_timestep(self.spec)] * self.num_envs)
        return blank._replace(is_first=self._is_first)

    def get_states(self) -> list[EnvState]:
        """Return that nothing is left."""
        return [dict(LOST) for _ in range(self.num_envs)]

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class EnvGroup(Group):
    """Environments of this process, stepped in turn."""

    def __init__(self, envs: Sequence[Environment]):
        """Take over `envs`, at least one; `close` closes them."""
        self.spec = envs[0].spec
        self.num_envs = len(envs)
        self._envs = tuple(envs)
        self._reset_next = [True] * len(envs)
        self._skipped = blank_timestep(self.spec)

    def send(self, action: Actions, skip: Mask, reset: Mask | None = None) -> None:
        """Set what the next `recv` does."""
        self._action, self._skip = action, skip
        if reset is not None:
            self._reset_next = (self._reset_next | reset).tolist()

    def recv(self) -> TimeStep:
        """Step every environment."""
        timesteps = [
            self._skipped if skip else env.reset() if reset else env.step(np.asarray(action))
            for env, action, skip, reset in zip(
                self._envs, self._action, self._skip, self._reset_next, strict=True
            )
        ]
        self._reset_next = [bool(timestep.is_last) for timestep in timesteps]
        return join_timesteps(np.stack, timesteps)

    def get_states(self) -> list[EnvState]:
        """Return the state of each environment in order, and whether the next step resets it."""
        states = []
        for env, reset in zip(self._envs, self._reset_next, strict=True):
            own = env.get_state()
            # One that begins anew is reset wherever it was; `VectorEnv` ends its episode.
            anew = {ANEW: True} if ANEW in own else {}
            states.append({"env": own, "reset_next": reset or bool(anew), **anew})
        return states

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continue from `states`, one per environment."""
        for env, state in zip(self._envs, states, strict=True):
            if state.keys() != LOST.keys():  # one that is lost stays as it was made
                env.set_state(state["env"])
        self._reset_next = [state["reset_next"] for state in states]

    def close(self) -> None:
        """Close every environment, also after one that fails at it."""
        with contextlib.ExitStack() as stack:
            for env in reversed(self._envs):
                stack.callback(env.close)
