"""Environments of others that have our interface already."""

from typing import Any

from ...errors import UsageError
from ..timestep import ANEW, Environment, EnvSpec, EnvState, TimeStep


def adapt(
    env: Any,
    *,
    action_repeat: int,
    observations: str,
    image_size: int | None,
    episode_steps: int | None,
) -> Environment:
    """Return an environment of our interface, with the state that it may lack.

    Raises:
        UsageError: If an option is given, which is its own matter.
    """
    options = {
        "env.action_repeat": (action_repeat, env.spec.action_repeat),
        "env.observations": (observations, "vectors"),
        "env.image_size": (image_size, None),
        "env.episode_steps": (episode_steps, None),
    }
    for name, (value, only) in options.items():
        if value != only:
            raise UsageError(
                f"`{name}` must be {only} for an environment that has gpld's interface itself, "
                f"got {value}."
            )
    return env if hasattr(env, "get_state") and hasattr(env, "set_state") else Stateless(env)


class Stateless:
    """Environment of our interface that cannot go on with an episode of before.

    Attributes:
        spec: Shapes and sizes of the task.
    """

    spec: EnvSpec

    def __init__(self, env: Any):
        """Take over `env`."""
        self._env = env
        self.spec = env.spec._replace(resumable=False)

    def reset(self) -> TimeStep:
        """Start an episode."""
        return self._env.reset()

    def step(self, action: Any) -> TimeStep:
        """Take a step."""
        return self._env.step(action)

    def get_state(self) -> EnvState:
        """Return the state of an environment that has none."""
        return {ANEW: True}

    def set_state(self, state: EnvState) -> None:
        """Do nothing: whoever sets this state resets the environment."""

    def close(self) -> None:
        """Release what the environment holds."""
        if hasattr(self._env, "close"):
            self._env.close()
