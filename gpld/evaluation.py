"""Episodes with an agent that does not learn."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .agent import act, initial_memory
from .envs import VectorEnv
from .metrics import EpisodeEnd, EpisodeTracker
from .models import Dreamer

_act = eqx.filter_jit(act)


def run_episodes(
    model: Dreamer,
    envs: VectorEnv,
    num_episodes: int,
    *,
    key: PRNGKeyArray,
) -> list[EpisodeEnd]:
    """Runs episodes in several environments at once, with sampled actions.

    Which episodes count is settled beforehand, the same number in each environment as far
    as possible, so that short ones are not preferred.

    Args:
        model: Networks.
        envs: Environments that have not been stepped yet.
        num_episodes: Number of episodes.
        key: Random key.

    Returns:
        The episodes, those of the first environment first.
    """
    quota = np.full(envs.num_envs, num_episodes // envs.num_envs)
    quota[: num_episodes % envs.num_envs] += 1
    finished: list[list[EpisodeEnd]] = [[] for _ in quota]
    tracker = EpisodeTracker(envs.num_envs)
    memory = initial_memory(model, envs.num_envs)
    action = np.zeros((envs.num_envs, envs.spec.action_size), np.float32)
    while any(len(f) < n for f, n in zip(finished, quota, strict=True)):
        step = envs.step(action)
        key, act_key = jr.split(key)
        observation, _, is_first, is_last, _ = jax.tree.map(jnp.asarray, step)
        memory, _ = _act(model, memory, observation, is_first, is_last, key=act_key)
        action = np.asarray(memory.action)
        for episode in tracker.add(step):
            if len(finished[episode.env]) < quota[episode.env]:
                finished[episode.env].append(episode)
    return [episode for episodes in finished for episode in episodes]
