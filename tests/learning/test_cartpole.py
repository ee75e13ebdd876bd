"""The preset that documentation begins with learns a real task, all of it in one program."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest

import gpld
from gpld.envs import make_vector_env
from gpld.evaluation import run_episodes

pytestmark = pytest.mark.slow

# Two thirds of the length of the preset: what is asked for is reached in the second third.
ENV_STEPS = 8_000
NUM_EPISODES = 16


@pytest.fixture(scope="module")
def folder(train, tmp_path_factory):
    """Simulated by MJX, and evaluated by MuJoCo."""
    config = gpld.PRESETS["small"]
    config = dataclasses.replace(
        config,
        env_steps=ENV_STEPS,
        loop="device",
        env=dataclasses.replace(config.env, backend="mjx"),
        evaluation=dataclasses.replace(config.evaluation, every=ENV_STEPS // 4),
    )
    return train(config, tmp_path_factory.mktemp("runs") / "small")


def test_beats_the_random_policy_on_cartpole_balance(folder):
    assert folder.learning_curve.exists()
    assert folder.config().task == "cartpole_balance"
    # The last two evaluations: a policy that has learned may still fall back for a while.
    means = [line["mean"] for line in folder.read("scores")]
    assert len(means) == 4
    assert np.mean(means[-2:]) > 1.5 * random_score(folder.config())


def test_scores_are_the_same_on_mjx_and_on_mujoco(folder):
    player = gpld.load(folder.path)

    def scores(backend):
        config = player.config
        with make_vector_env(
            config.task,
            num_envs=NUM_EPISODES,
            seed=1,
            action_repeat=config.env.action_repeat,
            backend=backend,
        ) as envs:
            episodes = run_episodes(player.state.model, envs, NUM_EPISODES, key=jr.key(2))
        return np.array([episode.score for episode in episodes])

    mujoco, mjx = scores("batch"), scores("mjx")
    error = np.sqrt((mujoco.var() + mjx.var()) / NUM_EPISODES)
    # Four standard errors, and half a percent of the best return where scores hardly vary.
    assert abs(mujoco.mean() - mjx.mean()) < 4 * error + 5


def random_score(config, episodes: int = 5) -> float:
    """Mean return of uniformly random actions."""
    rng, scores = np.random.default_rng(0), []
    for seed in range(episodes):
        env = gpld.make_env(config.task, seed=seed, action_repeat=config.env.action_repeat)
        step, score = env.reset(), 0.0
        while not step.is_last:
            step = env.step(rng.uniform(-1, 1, env.spec.action_size).astype(np.float32))
            score += float(step.reward)
        scores.append(score)
    return float(np.mean(scores))
