"""The preset that documentation begins with learns a real task, all of it in one program."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest

import gpld
from gpld.envs import make_vector_env
from gpld.evaluation.episodes import run_episodes

# Minutes of training; the probes learn in the other tests.
pytestmark = pytest.mark.exhaustive

# Two fifths of the length of the preset.
ENV_STEPS = 8_000
NUM_EPISODES = 16


@pytest.fixture(scope="module")
def on_mjx(train, tmp_path_factory):
    """Has learned the task, simulated by MJX and evaluated by MuJoCo."""
    config = gpld.PRESETS["small"]
    config = dataclasses.replace(
        config,
        env_steps=ENV_STEPS,
        loop="device",
        env=dataclasses.replace(config.env, backend="mjx", action_repeat=4),
        evaluation=dataclasses.replace(config.evaluation, every=ENV_STEPS // 4),
    )
    return train(config, tmp_path_factory.mktemp("runs") / "on_mjx")


@pytest.fixture(scope="module")
def on_mujoco(train, tmp_path_factory):
    """Has begun to learn it, simulated by MuJoCo."""
    config = dataclasses.replace(gpld.PRESETS["small"], env_steps=2_000)
    return train(config, tmp_path_factory.mktemp("runs") / "on_mujoco")


def test_beats_the_random_policy_on_cartpole_balance(on_mjx):
    assert on_mjx.learning_curve.exists()
    assert on_mjx.config().task == "cartpole_balance"
    # One of the last two evaluations: a policy that has learned may still fall back for a while.
    means = [line["mean"] for line in on_mjx.read("scores")]
    assert len(means) == 4
    assert max(means[-2:]) > 1.5 * random_score(on_mjx.config())


@pytest.mark.parametrize("trained", ["on_mjx", "on_mujoco"])
def test_scores_are_the_same_on_mjx_and_on_mujoco(trained, request):
    player = gpld.load(request.getfixturevalue(trained).path)

    def scores(backend):
        config = player.config
        with make_vector_env(
            config.task,
            num_envs=NUM_EPISODES,
            seed=1,
            action_repeat=config.action_repeat,
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
        env = gpld.make_env(config.task, seed=seed, action_repeat=config.action_repeat)
        step, score = env.reset(), 0.0
        while not step.is_last:
            step = env.step(rng.uniform(-1, 1, env.spec.action_size).astype(np.float32))
            score += float(step.reward)
        scores.append(score)
    return float(np.mean(scores))
