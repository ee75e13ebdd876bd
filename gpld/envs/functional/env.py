"""Environments as pure functions, to be compiled, mapped and scanned.

Nothing here imports JAX, and nothing is drawn that does not follow from a key.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Int8

from ..timestep import EnvSpec, TimeStep


@runtime_checkable
class FunctionalState(Protocol):
    """The state of one environment: a pytree of arrays, its last time step among them."""

    @property
    def timestep(self) -> TimeStep:
        """What `reset` or `step` has returned with this state; no batch axes."""
        ...


@runtime_checkable
class FunctionalEnv(Protocol):
    """One environment, pure.

    States have the same structure, shapes and dtypes whichever function returns them.
    """

    @property
    def spec(self) -> EnvSpec:
        """Shapes and sizes of the task."""
        ...

    def reset(self, key: Any) -> Any:
        """Starts an episode: a state whose time step has `is_first` and reward 0.

        Args:
            key: Random key; everything that the episode draws follows from it.
        """
        ...

    def step(self, state: Any, action: Any) -> Any:
        """Applies `action`, clipped to [-1, 1], for `spec.action_repeat` control steps.

        After a time step with `is_last`, what it returns means nothing.

        Args:
            state: From `reset` or `step`.
            action: Array of `spec.action_size` entries.
        """
        ...


class Cut(NamedTuple):
    """Episodes that were ended for no reason of the task's, so that they have no score."""

    interrupted: Bool[Any, " num_envs"]
    spoilt: Int8[Any, " num_envs"]
    """Where the reason is a number that is not finite, its place as `find_spoilt` has it; or 0."""


@runtime_checkable
class FunctionalVectorEnv(Protocol):
    """Environments of one task stepped together, pure, each reset after its last time step.

    Time steps are those of `VectorEnv`: the first step resets all of them. Later, an
    environment whose previous time step had `is_last` is reset by the step that follows:
    its action is ignored, its reward is 0 and its time step has `is_first`.
    """

    @property
    def spec(self) -> EnvSpec:
        """Shapes and sizes of the task."""
        ...

    @property
    def num_envs(self) -> int:
        """Number of environments, the batch axis of actions and time steps."""
        ...

    def init(self, key: Any) -> Any:
        """The state before the first step; nothing is reset yet.

        Args:
            key: Random key that everything follows from.
        """
        ...

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        """Steps every environment, or resets it.

        Args:
            state: From `init` or `step`.
            action: `[num_envs, action_size]`.

        Returns:
            The next state, and the time step with arrays `[num_envs, ...]`.
        """
        ...

    def cut(self, state: Any) -> Cut:
        """Which episodes the last step has ended for no reason of the task's.

        Args:
            state: What that step has returned.
        """
        ...
