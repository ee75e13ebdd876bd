"""The whole agent, penalty included, solves tasks whose best return and values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpld
from gpld.config import (
    ActorCriticConfig,
    Config,
    EnvConfig,
    EvaluationConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
)
from gpld.envs.probe import TASKS


def settings(task: str, env_steps: int) -> Config:
    return Config(
        task=task,
        env_steps=env_steps,
        env=EnvConfig(num_envs=4, action_repeat=1, workers=0),
        replay=ReplayConfig(batch_size=8, batch_length=16, train_ratio=64),
        model=ModelConfig(size="1m", deter=64, hidden=32, classes=8, units=32, stoch=8, blocks=4),
        ac=ActorCriticConfig(imag_length=10, horizon=20),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup=50),
        evaluation=EvaluationConfig(every=10**6, episodes=32, num_envs=16),
        log=LogConfig(every=500),
    )


@pytest.fixture
def trained(tmp_path):
    """Trains on a probe and gives its run folder."""
    return lambda task, env_steps: gpld.train(settings(task, env_steps), tmp_path / "run")


def _scores(folder):
    [line] = folder.read("scores")
    return line["scores"]


def test_value_of_a_constant_reward(trained):
    """Truncation is not termination: the value stays 1 / (1 - discount) to the end."""
    folder = trained("probe_constant", 1600)
    player = gpld.load(folder.path)
    env = gpld.make_env("probe_constant", seed=1)
    step, memory, values = env.reset(), player.memory(), []
    while not step.is_last:
        action, memory = player.act(step, memory)
        feat = jax.tree.map(lambda x: x[0], memory.memory.latent).feat()
        values.append(float(player.state.model.value(feat).mean()))
        step = env.step(action)
    horizon = player.config.ac.horizon
    np.testing.assert_allclose(values, horizon, rtol=0.15)


@pytest.mark.parametrize(
    ("task", "env_steps"),
    [("probe_delayed", 1600), ("probe_termination", 1200), ("probe_memory", 3000)],
)
def test_best_return_is_reached(trained, task, env_steps):
    scores = _scores(trained(task, env_steps))
    assert len(scores) == 32
    # One episode in 32 may miss: actions are sampled, with a standard deviation above 0.1.
    assert np.mean(np.array(scores) == TASKS[task].optimal_return) >= 31 / 32


def test_continue_head_learns_the_discount_and_termination(trained):
    """Predicts the discount while an episode goes on, and 0 after a negative action."""
    folder = trained("probe_termination", 1200)
    model = gpld.load(folder.path).state.model
    env = gpld.make_env("probe_termination", seed=0)
    latent, keys = model.rssm.initial(), jax.random.split(jax.random.key(0), 4)
    observation = {k: jnp.asarray(v) for k, v in env.reset().observation.items()}
    latent, _ = model.rssm.observe(
        latent,
        model.encoder(observation),
        jnp.zeros(1),
        jnp.array(True),
        key=keys[0],
    )
    stay, end = (model.rssm.imagine(latent, jnp.array([sign]), key=keys[1]) for sign in (1.0, -1.0))
    discount = gpld.load(folder.path).config.ac.discount
    assert abs(float(model.cont(stay.feat()).prob()) - discount) < 0.05
    assert float(model.cont(end.feat()).prob()) < 0.2
