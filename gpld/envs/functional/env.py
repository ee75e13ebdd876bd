"""Environments as pure functions, to be compiled, mapped and scanned.

Nothing here imports JAX, and nothing is drawn that does not follow from a key.
"""

from typing import Any, Protocol, runtime_checkable

from ..timestep import EnvSpec


@runtime_checkable
class FunctionalEnv(Protocol):
    """One environment as pure functions.

    Its states are pytrees of arrays without batch axes, among them the `TimeStep` of the reset or
    step that has returned the state, as its attribute `timestep`. States have the same structure,
    shapes and dtypes whichever function returns them.
    """

    @property
    def spec(self) -> EnvSpec:
        """Shapes and sizes of the task."""
        ...

    def reset(self, key: Any) -> Any:
        """Start an episode: return a state whose time step has `is_first` and reward 0.

        Args:
            key: Random key; everything that the episode draws follows from it.
        """
        ...

    def step(self, state: Any, action: Any) -> Any:
        """Apply `action` for `spec.action_repeat` control steps.

        After a time step with `is_last`, what it returns means nothing.

        Args:
            state: From `reset` or `step`.
            action: Array as `spec.action` describes it: floats, which are clipped to [-1, 1], or
                an integer.
        """
        ...
