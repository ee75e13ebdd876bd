"""Loading a trained agent and acting with it."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float32, Int, PRNGKeyArray

from .. import agent
from ..checkpoints import checkpoint
from ..config import Config
from ..envs import TimeStep
from ..runs.zoo import open_run


class ActingState(NamedTuple):
    """State that a `TrainedAgent` carries from one time step to the next."""

    policy: agent.PolicyState
    key: PRNGKeyArray


class TrainedAgent(eqx.Module):
    """A trained agent in one environment."""

    state: agent.AgentState
    config: Config = eqx.field(static=True)

    def initial_state(self, *, seed: int = 0) -> ActingState:
        """Return the state before the first time step.

        Args:
            seed: Seed of the sampled states and actions.
        """
        return ActingState(agent.initial_policy_state(self.state.model, 1), jr.key(seed))

    def act(
        self, step: TimeStep, state: ActingState
    ) -> tuple[Float32[np.ndarray, " action"] | Int[np.ndarray, ""], ActingState]:
        """Sample an action, as in training and evaluation.

        Args:
            step: Time step of one environment.
            state: The result of the last call, or of `initial_state`.

        Returns:
            The action, unclipped, or its number if it is discrete; and the new state.
        """
        observation, _, is_first, is_last, _ = jax.tree.map(lambda x: jnp.asarray(x)[None], step)
        key, act_key = jr.split(state.key)
        new, _ = _act(self.state.model, state.policy, observation, is_first, is_last, key=act_key)
        return np.asarray(new.action[0]), ActingState(new, key)


_act = eqx.filter_jit(agent.act)


def load(run: str | Path, *, env_step: int | None = None) -> TrainedAgent:
    """Load the agent of a run from a checkpoint.

    Args:
        run: Folder of the run, or what `gpld export` made of it; `zoo:cartpole_swingup` and the
            like name an agent that comes with the package.
        env_step: Env steps after which the checkpoint was written; None takes the latest.

    Raises:
        UsageError: If there is no run in that folder, no checkpoint of that env step, or no agent
            of that name in the zoo.
        MachineError: If the run has left no checkpoint, or this one is damaged.
    """
    folder = open_run(run)
    config = folder.config()
    like = agent.abstract_state(config, **folder.env_spec().sizes)
    return TrainedAgent(checkpoint.load(folder.find_checkpoint(env_step), like), config)
