"""Errors of open-loop predictions: known answers, and what each may depend on."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import ACTION_SIZE, SHAPES, tiny_model

from gpld.analysis.prediction_error import (
    HORIZONS,
    Episodes,
    _predict,
    as_batch,
    prediction_error,
    relative_error,
)
from gpld.analysis.sensitivity import VisitedStates, measure
from gpld.losses import observe

STEPS = 120
START = 60


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def episodes():
    rng = np.random.default_rng(0)
    return Episodes(
        {name: rng.normal(size=(3, STEPS, *shape)).astype(np.float32)
         for name, shape in SHAPES.items()},
        rng.uniform(-1, 1, (3, STEPS, ACTION_SIZE)).astype(np.float32),
        rng.normal(size=(3, STEPS)).astype(np.float32),
    )  # fmt: skip


def predict(model, episodes):
    """What is predicted from `START` on: each horizon has a moment of its own."""
    moments = jax.numpy.array(HORIZONS) + START
    found = jax.device_get(_predict(model, as_batch(model, episodes), moments, key=jr.key(1)))[:2]
    own = np.arange(len(HORIZONS))
    return jax.tree.map(lambda x: x[:, own, own], found)


def differs(a, b):
    """For each horizon, whether any prediction or reward differs."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return np.any([(x != y).reshape(3, len(HORIZONS), -1).any(axis=(0, 2)) for x, y in pairs], 0)


def test_the_mean_has_the_error_1_and_the_truth_0():
    rng = np.random.default_rng(0)
    true = rng.normal(2, 3, size=(4, 500, 2))
    true[..., 1] = 7.0  # never changes
    mean = np.broadcast_to(true.mean((0, 1)), (4, 500, 1, 2))
    assert relative_error(mean, true)[0, 0] == pytest.approx(1, abs=1e-12)
    assert np.isnan(relative_error(mean, true)[0, 1])
    assert relative_error(true[:, :, None], true)[0, 0] == 0
    other = relative_error(np.roll(true, 200, axis=1)[:, :, None], true)[0, 0]
    assert other == pytest.approx(2, abs=0.15)  # a sample of the same distribution


def test_predictions_know_nothing_of_later_observations(model, episodes):
    before = predict(model, episodes)
    later = {name: x.copy() for name, x in episodes.observation.items()}
    for x in later.values():
        x[:, START + 1 :] += 1
    assert not differs(before, predict(model, episodes._replace(observation=later))).any()
    for x in later.values():
        x[:, : START + 1] *= -10
    assert differs(before, predict(model, episodes._replace(observation=later)))[0]


@pytest.mark.parametrize("ahead", HORIZONS)
def test_a_prediction_follows_from_the_actions_before_it_alone(model, episodes, ahead):
    """The action at t leads from the observation at t to that at t + 1."""
    before = predict(model, episodes)
    for time, changed in ((START + ahead - 1, True), (START + ahead, False)):
        action = episodes.action.copy()
        action[:, time] = -action[:, time]
        new = differs(before, predict(model, episodes._replace(action=action)))
        own = list(HORIZONS).index(ahead)
        assert new[own] == changed
        assert not new[:own].any()


def test_all_numbers_are_there_and_finite(model, episodes):
    found = prediction_error(model, episodes, key=jr.key(0))
    assert len(found.observation) == len(found.reward) == len(HORIZONS)
    numbers = [*found.observation, *found.reward, found.kl, found.posterior.mean, found.prior.mean]
    assert np.isfinite(numbers).all()
    assert min(numbers) > 0
    again = prediction_error(model, episodes, key=jr.key(0))
    assert again == found


def test_the_error_is_that_of_the_predictions(model, episodes, monkeypatch):
    """By loops over episodes, starts and horizons."""
    moments = [95, 105, 115]
    predicted, reward = jax.device_get(
        _predict(model, as_batch(model, episodes), jax.numpy.array(moments), key=jr.key(1))
    )[:2]
    monkeypatch.setattr("gpld.analysis.prediction_error.jr.split", lambda key: (jr.key(1), key))
    found = prediction_error(model, episodes, key=jr.key(0))
    for h in range(len(HORIZONS)):
        errors = []
        for name, x in episodes.observation.items():
            x = x.astype(np.float64)
            own = [
                (predicted[name][e, m, h] - x[e, moment]) ** 2
                for e in range(3)
                for m, moment in enumerate(moments)
            ]
            errors += list(np.ravel(np.mean(own, axis=0) / x[:, moments].var(axis=(0, 1))))
        assert found.observation[h] == pytest.approx(np.mean(errors), rel=1e-5)
        own = [
            (reward[e, m, h] - float(episodes.reward[e, moment])) ** 2
            for e in range(3)
            for m, moment in enumerate(moments)
        ]
        variance = episodes.reward.astype(np.float64)[:, moments].var()
        assert found.reward[h] == pytest.approx(np.mean(own) / variance, rel=1e-5)


def test_divergence_and_sensitivity_are_those_of_the_states_that_were_seen(model, episodes):
    found = prediction_error(model, episodes, key=jr.key(0))
    predict_key, perturb_key = jr.split(jr.key(0))
    batch = as_batch(model, episodes)
    rollout = observe(model, batch, key=jr.split(predict_key)[0])
    deter = rollout.latent.deter
    prior = jax.vmap(jax.vmap(model.rssm.prior_logits))(deter)
    # From the tables themselves, unimix included: KL(posterior || prior).
    p, q = (
        0.99 * jax.nn.softmax(logits) + 0.01 / logits.shape[-1]
        for logits in (rollout.posterior_logits, prior)
    )
    assert found.kl == pytest.approx(float((p * jnp.log(p / q)).sum((-1, -2)).mean()), rel=1e-4)
    some = {name: x[:, ::10] for name, x in batch.observation.items()}
    embed = jax.vmap(jax.vmap(model.encoder))(some)
    states = VisitedStates(*(x.reshape(-1, x.shape[-1]) for x in (deter[:, ::10], embed)))
    posterior, prior = measure(model.rssm, states, key=perturb_key)
    assert found.posterior.mean == pytest.approx(posterior.mean, rel=1e-4)
    assert found.prior.mean == pytest.approx(prior.mean, rel=1e-4)
    assert posterior.mean != pytest.approx(prior.mean, rel=0.1)


def test_short_episodes_are_refused(model, episodes):
    short = jax.tree.map(lambda x: x[:, :95], episodes)
    with pytest.raises(ValueError, match=r"`episodes` must have more than 95 env steps, got 95"):
        prediction_error(model, short, key=jr.key(0))
