"""GPLD-DreamerV3 from its parts, without the training system: copy it to try an idea.

The algorithm and its settings are those of `scripts/train.py`, with one seed on one device and
other random numbers. Evaluation, logs, checkpoints and recovery from failures are left out.

python scripts/minimal.py
"""

import dataclasses

import equinox as eqx
import jax.random as jr
import numpy as np

from gpld import agent
from gpld.config import Config
from gpld.config.presets import PRESETS
from gpld.config.train_ratio import train_ratio
from gpld.envs import make_vector_env
from gpld.replay import Replay
from gpld.training import experience

SMALL = PRESETS["small"]
# cartpole_balance, in a quarter of an hour on a CPU core.
CONFIG = dataclasses.replace(SMALL, env=dataclasses.replace(SMALL.env, action_repeat=4))


def train(config: Config) -> list[float]:
    """Train an agent, and return the score of every episode on the way."""
    num_envs, batch_size = config.env.num_envs, config.replay.batch_size
    envs = make_vector_env(config.task, num_envs=num_envs, seed=config.seed, **config.env_options)
    # Each environment writes one endless stream of steps, of which windows are drawn. Latent
    # states are stored with the steps, and refreshed with the ones recomputed in updates.
    replay = Replay(
        experience.step_specs(config, envs.spec),
        num_streams=num_envs,
        window=config.replay.batch_length + 1,  # the first step gives the latent state
        capacity=config.replay.capacity,
        max_steps=-(-config.env_steps // num_envs),
        mutable=experience.LATENT,
        seed=config.seed,
    )

    init_key, act_key, update_key = jr.split(jr.key(config.seed), 3)
    act, update = eqx.filter_jit(agent.act), eqx.filter_jit(agent.update)
    state = eqx.filter_jit(agent.init)(config, **envs.spec.sizes, key=init_key)
    policy_state = agent.initial_policy_state(state.model, num_envs)

    print(f"{config.task}: the first episodes end, and are shown, after some minutes", flush=True)
    ratio, updates = train_ratio(config), 0
    scores, rewards = list[float](), np.zeros(num_envs)
    for env_step in range(0, config.env_steps, num_envs):
        # Apply the actions chosen last in all environments, and choose the next ones.
        step = envs.step(np.asarray(policy_state.action))
        flags = (step.is_first, step.is_last)
        key = jr.fold_in(act_key, env_step)
        policy_state, latent = act(state.model, policy_state, step.observation, *flags, key=key)
        replay.add(experience.to_steps(step, policy_state.action, latent))

        rewards += step.reward
        for score in rewards[step.is_last]:
            scores.append(float(score))
            print(f"{env_step + num_envs:8,} env steps: return {score:.1f}", flush=True)
        rewards[step.is_last] = 0

        # Learn from what was stored, as often as the train ratio says.
        while updates < ratio.updates_due(env_step + num_envs):
            sample = experience.sample(replay, batch_size)
            batch = experience.to_batch(sample.steps, envs.spec)
            key = jr.fold_in(update_key, state.update)
            state, latents, _ = update(state, batch, config=config, key=key)
            experience.refresh(replay, sample, latents)
            updates += 1
    envs.close()
    return scores


if __name__ == "__main__":
    train(CONFIG)
