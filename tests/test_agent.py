"""The agent with discrete actions: what enters the RSSM, what is chosen, and one update."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import (
    ACTION_SIZE,
    CONFIG,
    DISCRETE_SHAPES,
    NUM_ACTIONS,
    NUM_CLASSES,
    SHAPES,
    discrete_batch,
    discrete_model,
    quick_jit,
    tiny_model,
)

from gpld import agent
from gpld.losses import imagine, observe
from gpld.losses.gpld import replayed_states

NUM_ENVS = 4


@pytest.fixture(scope="module")
def model():
    return discrete_model()


def _observation(model):
    shapes = DISCRETE_SHAPES if model.decoder.categorical else SHAPES
    dtype = lambda name: jnp.int32 if name in NUM_CLASSES else jnp.float32  # noqa: E731
    return {name: jnp.ones((NUM_ENVS, *shape), dtype(name)) for name, shape in shapes.items()}


def _act(model, action, *, is_first=False, is_last=False):
    """The policy's state after one step from a latent that is not zero."""
    state = agent.initial_policy_state(model, NUM_ENVS)
    latent = jax.tree.map(lambda x: x + 0.5, state.latent)
    state, flags = agent.PolicyState(latent, action), jnp.zeros(NUM_ENVS, bool)
    act = quick_jit(lambda *args: agent.act(model, *args, key=jr.key(0)))
    return act(state, _observation(model), flags | is_first, flags | is_last)[0]


def test_a_policy_state_holds_numbers_of_actions(model):
    state = agent.initial_policy_state(model, NUM_ENVS)
    assert (state.action.shape, state.action.dtype) == ((NUM_ENVS,), jnp.int32)
    after = _act(model, jnp.arange(NUM_ENVS, dtype=jnp.int32) % NUM_ACTIONS)
    assert (after.action.shape, after.action.dtype) == ((NUM_ENVS,), jnp.int32)
    assert np.all((after.action >= 0) & (after.action < NUM_ACTIONS))


def test_the_first_action_differs_from_none(model):
    """The masked action is no action: where an episode begins all are alike, elsewhere none."""
    actions = jnp.array([0, 0, 1, 2], jnp.int32)
    begun = _act(model, actions, is_first=True).latent.deter
    np.testing.assert_array_equal(begun, np.broadcast_to(begun[:1], begun.shape))
    none = model.rssm.core(*model.rssm.initial(), jnp.zeros(NUM_ACTIONS))
    np.testing.assert_allclose(begun[0], none, rtol=1e-4, atol=1e-6)
    zeroth = model.rssm.core(*model.rssm.initial(), model.policy.encode(jnp.int32(0)))
    assert np.abs(zeroth - none).max() > 0.01
    later = _act(model, actions).latent.deter
    np.testing.assert_array_equal(later[0], later[1])
    assert len(np.unique(np.asarray(later), axis=0)) == NUM_ACTIONS


@pytest.mark.parametrize("make", [tiny_model, discrete_model])
def test_the_action_at_the_end_of_an_episode_is_zero(make):
    model = make()
    action = agent.initial_policy_state(model, NUM_ENVS).action
    is_last = jnp.array([True, False, True, False])
    after = np.asarray(_act(model, action, is_last=is_last).action)
    assert not np.any(after[::2])
    assert after.dtype == action.dtype


@pytest.mark.parametrize("make", [tiny_model, discrete_model])
def test_an_agent_of_nans_chooses_no_action(make):
    model = make()
    action = agent.initial_policy_state(model, NUM_ENVS).action
    assert np.all(agent.is_finite(action))
    model = eqx.tree_at(
        lambda m: m.policy.mlp.layers[0].norm.scale, model, replace_fn=lambda x: x * jnp.nan
    )
    for actions in (after := _act(model, action).action), np.asarray(after):
        np.testing.assert_array_equal(agent.is_finite(actions), np.zeros(NUM_ENVS, bool))


def test_one_action_that_is_not_finite_is_found():
    action = np.zeros((3, ACTION_SIZE), np.float32)
    action[1, 1] = -np.inf
    np.testing.assert_array_equal(agent.is_finite(action), [True, False, True])


def test_replayed_actions_are_masked_after_they_are_encoded(model):
    """In the posterior rollout, and as the penalty sees states."""
    is_first = jnp.zeros((2, 4), bool).at[0, 2].set(True)
    batch = discrete_batch(is_first=is_first)
    other = batch._replace(prev_action=batch.prev_action.at[0, 2].add(1) % NUM_ACTIONS)
    seen = quick_jit(lambda batch: observe(model, batch, key=jr.key(0)))
    rollout, same = seen(batch), seen(other)
    np.testing.assert_array_equal(rollout.latent.deter, same.latent.deter)
    none = model.rssm.core(*model.rssm.initial(), jnp.zeros(NUM_ACTIONS))
    np.testing.assert_allclose(rollout.latent.deter[0, 2], none, rtol=1e-4, atol=1e-6)
    changed = batch._replace(prev_action=batch.prev_action.at[1, 2].add(1) % NUM_ACTIONS)
    assert np.any(seen(changed).latent.deter[1, 2] != rollout.latent.deter[1, 2])
    states = replayed_states(model, batch, rollout)
    expected = np.eye(NUM_ACTIONS)[batch.prev_action]
    expected[0, 2] = 0
    np.testing.assert_array_equal(states.prev_action, expected)


def test_imagined_actions_are_numbers_and_enter_as_one_hot_vectors(model):
    start = jax.tree.map(lambda x: x + 0.5, model.rssm.initial())
    imagined = quick_jit(lambda key: imagine(model, model.value, start, 5, key=key))(jr.key(0))
    assert (imagined.action.shape, imagined.action.dtype) == ((5,), jnp.int32)
    feats = jnp.concatenate([imagined.feat, imagined.last[None]])
    deter, stoch = jnp.split(feats, [model.rssm.deter], axis=-1)
    for t, action in enumerate(np.asarray(imagined.action)):
        table = stoch[t].reshape(model.rssm.stoch, model.rssm.classes)
        after = model.rssm.core(deter[t], table, jnp.eye(NUM_ACTIONS)[action])
        np.testing.assert_allclose(deter[t + 1], after, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_an_update_learns_from_numbers_and_classes(precision):
    """The loss of both falls, and the report is finite."""
    optimizer = dataclasses.replace(CONFIG.optimizer, learning_rate=1e-2, warmup=1)
    config, batch = (
        dataclasses.replace(CONFIG, precision=precision, optimizer=optimizer),
        discrete_batch(),
    )
    kinds = {"discrete": True, "num_classes": NUM_CLASSES}
    state = jax.jit(lambda key: agent.init(config, DISCRETE_SHAPES, NUM_ACTIONS, **kinds, key=key))(
        jr.key(0)
    )
    update = jax.jit(lambda state, key: agent.update(state, batch, config=config, key=key))
    metrics = []
    for i in range(60):
        state, _, own = update(state, jr.key(i))
        metrics.append(jax.device_get(own))
    assert not any(own["opt/skipped"] for own in metrics)
    np.testing.assert_allclose(metrics[0]["rand/action"], 1, atol=1e-3)
    np.testing.assert_allclose(metrics[0]["ent/action"], np.log(NUM_ACTIONS), atol=1e-3)
    for name in NUM_CLASSES:
        assert metrics[-1][f"loss/{name}"] < 0.5 * metrics[0][f"loss/{name}"]
    report = jax.jit(lambda state, key: agent.report(state, batch, config=config, key=key))
    assert all(np.isfinite(x) for x in report(state, jr.key(0)).values())
