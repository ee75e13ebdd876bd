"""The preset that the README begins with learns a real task."""

import dataclasses

import numpy as np
import pytest

import gpld


@pytest.mark.slow
def test_small_beats_the_random_policy_on_cartpole_balance(tmp_path):
    # Two thirds of its length; what is asked for is reached in the second third.
    config = dataclasses.replace(gpld.PRESETS["small"], env_steps=8_000)
    folder = gpld.train(config, tmp_path / "run")
    assert folder.learning_curve.exists()
    assert folder.read("scores")[-1]["mean"] > 1.5 * random_score(config)


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
