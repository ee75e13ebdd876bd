"""Loading a trained agent and acting with it."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float32, PRNGKeyArray

from .. import agent
from ..checkpoints import checkpoint
from ..config import Config
from ..envs import TimeStep
from ..errors import UsageError
from ..runs.folder import RunFolder


class PlayerMemory(NamedTuple):
    """What a `Player` carries from one time step to the next."""

    memory: agent.PolicyState
    key: PRNGKeyArray


class Player(eqx.Module):
    """A trained agent in one environment."""

    state: agent.AgentState
    config: Config = eqx.field(static=True)

    def memory(self, *, seed: int = 0) -> PlayerMemory:
        """What the agent remembers before its first time step.

        Args:
            seed: Seed of the sampled states and actions.
        """
        return PlayerMemory(agent.initial_policy_state(self.state.model, 1), jr.key(seed))

    def act(
        self, step: TimeStep, memory: PlayerMemory
    ) -> tuple[Float32[np.ndarray, " action"], PlayerMemory]:
        """Samples an action, as in training and evaluation.

        Args:
            step: Time step of one environment.
            memory: What the last call returned, or `memory()`.

        Returns:
            The action, unclipped, and the new memory.
        """
        observation, _, is_first, is_last, _ = jax.tree.map(lambda x: jnp.asarray(x)[None], step)
        key, act_key = jr.split(memory.key)
        new, _ = _act(self.state.model, memory.memory, observation, is_first, is_last, key=act_key)
        return np.asarray(new.action[0]), PlayerMemory(new, key)


_act = eqx.filter_jit(agent.act)


def load(run: str | Path, *, env_step: int | None = None) -> Player:
    """Loads the agent of a run from a checkpoint.

    Args:
        run: Folder of the run.
        env_step: Env steps after which the checkpoint was written; None takes the latest.

    Raises:
        UsageError: If there is no run in that folder, or no checkpoint of that env step.
        MachineError: If the run has left no checkpoint, or this one is damaged.
    """
    folder = RunFolder(Path(run))
    config, spec = folder.config(), folder.env_spec()
    shapes = {name: array.shape for name, array in spec.observation.items()}
    like = eqx.filter_eval_shape(agent.init, config, shapes, spec.action_size, key=jr.key(0))
    checkpoints = folder.checkpoints()
    if env_step is not None and env_step not in checkpoints:
        steps = ", ".join(map(str, checkpoints)) or "none"
        raise UsageError(f"`env_step` must be that of a checkpoint ({steps}), got {env_step}.")
    path = folder.latest_checkpoint() if env_step is None else checkpoints[env_step]
    return Player(checkpoint.load(path, like), config)
