"""The whole agent, penalty included, solves tasks whose best return and values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_settings import settings

import gpld
from gpld.envs.probe import TASKS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """Trains on a probe, once, and gives its run folder."""
    folders = {}

    def trained(task, env_steps):
        if task not in folders:
            path = tmp_path_factory.mktemp("runs") / task
            folders[task] = train(settings(task, env_steps), path)
        return folders[task]

    return trained


@pytest.mark.exhaustive
def test_value_of_a_constant_reward(trained):
    """Truncation is not termination: the value stays 1 / (1 - discount) to the end."""
    folder = trained("probe_constant", 1000)
    player = gpld.load(folder.path)
    env = gpld.make_env("probe_constant", seed=1)
    step, state, values = env.reset(), player.initial_state(), []
    while not step.is_last:
        action, state = player.act(step, state)
        feat = jax.tree.map(lambda x: x[0], state.policy.latent).feat()
        values.append(float(player.state.model.value(feat).mean()))
        step = env.step(action)
    np.testing.assert_allclose(values, player.config.ac.horizon, rtol=0.2)


@pytest.mark.parametrize(
    ("task", "env_steps"),
    [("probe_delayed", 1400), ("probe_termination", 800)],
)
def test_best_return_is_reached(trained, task, env_steps):
    [line] = trained(task, env_steps).read("scores")
    assert len(line["scores"]) == 32
    # One episode in 32 may miss: actions are sampled, with a standard deviation above 0.1.
    assert np.mean(np.array(line["scores"]) == TASKS[task].optimal_return) >= 31 / 32


@pytest.mark.exhaustive
def test_discrete_actions_are_learned(trained):
    """Of 9 decisions in each of 32 episodes, one in a hundred may be wrong: they are sampled."""
    [line] = trained("probe_discrete", 1400).read("scores")
    assert len(line["scores"]) == 32
    assert np.mean(line["scores"]) >= 0.99 * TASKS["probe_discrete"].optimal_return


def test_continue_head_learns_the_discount_and_termination(trained):
    """Predicts the discount while an episode goes on, and 0 after a negative action."""
    player = gpld.load(trained("probe_termination", 800).path)
    model = player.state.model
    step = gpld.make_env("probe_termination", seed=0).reset()
    observation = {k: jnp.asarray(v) for k, v in step.observation.items()}
    latent, _ = model.rssm.observe(
        model.rssm.initial(),
        model.encoder(observation),
        jnp.zeros(1),
        jnp.array(True),
        key=jax.random.key(0),
    )
    stay, end = (
        model.rssm.imagine(latent, jnp.array([sign]), key=jax.random.key(1)) for sign in (1.0, -1.0)
    )
    assert abs(float(model.cont(stay.feat()).prob()) - player.config.ac.discount) < 0.05
    assert float(model.cont(end.feat()).prob()) < 0.2
