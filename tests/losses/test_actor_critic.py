"""Imagination, and the losses of policy and value against plain NumPy."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from helpers import CONFIG, build, quick_jit, tiny_batch, tiny_model

from gpld.config import ActorCriticConfig
from gpld.losses import ReturnNorm, actor_critic_losses, imagine, replay_returns
from gpld.models import Latent, Rollout, symexp_bins

BATCH, TIME, LENGTH = 2, 4, 3


pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def _latents(*shape):
    rng = np.random.default_rng(0)
    one_hot = np.eye(4)[rng.integers(4, size=(*shape, 3))]
    return Latent(
        jnp.asarray(rng.normal(size=(*shape, 16)), jnp.float32), jnp.asarray(one_hot, jnp.float32)
    )


def _states(imagined):
    """States s_0 to s_H, from their features."""
    feat = jnp.concatenate([imagined.feat, imagined.last[None]])
    deter, stoch = jnp.split(feat, [16], axis=-1)
    return Latent(deter, stoch.reshape(-1, 3, 4))


# Imagination


@pytest.fixture(scope="module")
def rollouts(model):
    """Many rollouts from one state, and the distributions they should have come from."""
    num, start = 2000, _latents()

    def rollout(key):
        imagined = imagine(model, model.value, start, LENGTH, key=key)
        states = _states(imagined)
        before = jax.tree.map(lambda x: x[:-1], states)
        policy = jax.vmap(model.policy)(imagined.feat)
        deter = jax.vmap(model.rssm.core)(*before, imagined.action)
        prior = jax.vmap(model.rssm.prior_probs)(deter)
        return (states, imagined.action), policy.mean, policy.std, deter, prior

    keys = jr.split(jr.key(0), num)
    return start, jax.tree.map(np.asarray, quick_jit(jax.vmap(rollout))(keys))


def test_imagination_starts_at_the_state_and_advances_with_the_core(rollouts):
    start, ((states, action), _, _, deter, _) = rollouts
    assert states.deter.shape[1] == LENGTH + 1
    assert action.shape[1:] == (LENGTH, 2)
    for now, first in zip(states, start, strict=True):
        np.testing.assert_array_equal(now[:, 0], np.broadcast_to(first, now[:, 0].shape))
    np.testing.assert_allclose(states.deter[:, 1:], deter, rtol=1e-4, atol=1e-5)


def test_features_may_be_kept_in_half_precision(model):
    rollout = lambda kept: imagine(  # noqa: E731
        model, model.value, _latents(), LENGTH, kept=kept, key=jr.key(0)
    )
    whole, half = rollout(None), rollout(jnp.dtype("bfloat16"))
    np.testing.assert_array_equal(half.feat, whole.feat.astype("bfloat16"))
    for a, b in zip(jax.tree.leaves(half[1:]), jax.tree.leaves(whole[1:]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_imagined_actions_are_samples_of_the_policy(rollouts):
    _, ((_, action), mean, std, _, _) = rollouts
    z = (action - mean) / std
    error = 6 / np.sqrt(len(z))
    assert np.all(np.abs(z.mean(0)) < error)
    assert np.all(np.abs(z.var(0) - 1) < np.sqrt(2) * error)
    assert np.all(np.abs(np.mean(z[:, 0] * z[:, 1], axis=0)) < error)


def test_imagined_states_are_samples_of_the_prior(rollouts):
    _, ((states, action), _, _, _, prior) = rollouts
    deviation = states.stoch[:, 1:] - prior
    limit = 6 * np.sqrt(np.mean(prior * (1 - prior), axis=0) / len(prior))
    assert np.all(np.abs(deviation.mean(0)) < limit)
    # Independent of the action that led there.
    noise = (action - action.mean(0))[:, :, :1, None]
    noise = noise / noise.std(0)
    assert np.all(np.abs(np.mean(noise * deviation, axis=0)) < 8 / np.sqrt(len(prior)))


# Losses


CONFIG_AC = ActorCriticConfig(
    imag_length=LENGTH, entropy=0.2, slow_regularizer=0.7, trace=0.8, horizon=20.0
)
IS_LAST = np.zeros((BATCH, TIME), bool)
IS_LAST[0, 1] = IS_LAST[1, 2] = True
IS_TERMINAL = np.zeros((BATCH, TIME), bool)
IS_TERMINAL[1, 2] = True


@pytest.fixture(scope="module")
def losses(model):
    """The losses, and everything they are made of as float64 arrays."""
    slow_value = build(lambda key: model.value, seed=1)
    norm = ReturnNorm().update(jnp.array([-200.0, 900.0]), ActorCriticConfig())
    latent = _latents(BATCH, TIME)
    rollout = Rollout(jnp.zeros((BATCH, TIME, 8)), latent, jnp.zeros((BATCH, TIME, 3, 4)))
    batch = tiny_batch(is_last=jnp.asarray(IS_LAST), is_terminal=jnp.asarray(IS_TERMINAL))
    key = jr.key(7)

    def evaluate(rollout, batch):
        args = (model, slow_value, norm, rollout, batch, CONFIG_AC)
        losses, new_norm, metrics = actor_critic_losses(*args, key=key)
        starts = jax.tree.map(lambda x: x.reshape(BATCH * TIME, *x.shape[2:]), rollout.latent)
        imagined = jax.vmap(lambda z, key: imagine(model, slow_value, z, LENGTH, key=key))(
            starts, jr.split(key, BATCH * TIME)
        )
        states = jax.vmap(_states)(imagined)

        def predict(z):
            feat = z.feat()
            policy = model.policy(feat)
            return {
                "reward": model.reward(feat).mean(),
                "cont": model.cont(feat).prob(),
                "value": model.value(feat).mean(),
                "value_logits": model.value(feat).logits,
                "slow": slow_value(feat).mean(),
                "mean": policy.mean,
                "std": policy.std,
            }

        predictions = jax.vmap(jax.vmap(predict))(states)
        return losses, new_norm, metrics, predictions | {"action": imagined.action}

    with jax.numpy_dtype_promotion("strict"):
        losses, new_norm, metrics, made_of = quick_jit(evaluate)(rollout, batch)
    made_of = {name: np.asarray(x, np.float64) for name, x in made_of.items()}
    return losses, norm, new_norm, metrics, made_of


def _cross_entropy(logits, target):
    """Of a two-hot target, plainly."""
    log_probs = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    bins = symexp_bins().astype(np.float64)
    upper = np.searchsorted(bins, target, side="right").clip(1, 254)
    weight = (target - bins[upper - 1]) / (bins[upper] - bins[upper - 1])
    take = lambda i: np.take_along_axis(log_probs, i[..., None], -1)[..., 0]  # noqa: E731
    return -(weight * take(upper) + (1 - weight) * take(upper - 1))


def _imagined_returns(made_of):
    """SPEC 7.2."""
    reward, cont, value = (made_of[k] for k in ("reward", "cont", "value"))
    returns = value.copy()
    for t in reversed(range(LENGTH)):
        mixed = 0.2 * value[:, t + 1] + 0.8 * returns[:, t + 1]
        returns[:, t] = reward[:, t + 1] + cont[:, t + 1] * mixed
    return returns[:, :LENGTH]


def _replay_targets(reward, bootstrap):
    """SPEC 7.6, with the discount 1 - 1 / 20."""
    following = bootstrap[:, -1]
    targets = np.zeros((BATCH, TIME - 1))
    for t in reversed(range(TIME - 1)):
        trace = 0.8 * ~IS_LAST[:, t + 1]
        mixed = (1 - trace) * bootstrap[:, t + 1] + trace * following
        following = reward[:, t + 1] + 0.95 * ~IS_TERMINAL[:, t + 1] * mixed
        targets[:, t] = following
    return targets


def _scale(norm, new_norm, returns):
    low, high = np.percentile(returns, [5, 95])
    low, high = 0.99 * float(norm.low) + 0.01 * low, 0.99 * float(norm.high) + 0.01 * high
    np.testing.assert_allclose([new_norm.low, new_norm.high], [low, high], rtol=1e-3)
    return high - low


def test_policy_loss(losses):
    losses, norm, new_norm, metrics, made_of = losses
    returns = _imagined_returns(made_of)
    scale = _scale(norm, new_norm, returns)
    assert scale > 2  # beyond the floor, which the recorded updates never leave
    advantage = (returns - made_of["value"][:, :-1]) / scale
    policy = scipy.stats.norm(made_of["mean"][:, :-1], made_of["std"][:, :-1])
    log_prob = policy.logpdf(made_of["action"]).sum(-1)
    weight = np.cumprod(made_of["cont"], axis=1)[:, :-1]  # c_0 included
    expected = -weight * (log_prob * advantage + 0.2 * policy.entropy().sum(-1))
    expected = expected.mean(1).reshape(BATCH, TIME)
    np.testing.assert_allclose(losses["policy"], expected, rtol=1e-3)
    np.testing.assert_allclose(metrics["adv"], advantage.mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["tar"], returns.mean(), rtol=1e-3)
    np.testing.assert_allclose(
        metrics["ret"], np.mean((returns - float(new_norm.low)) / scale), rtol=1e-3
    )


def test_value_loss(losses):
    losses, *_, made_of = losses
    logits, slow = made_of["value_logits"][:, :-1], made_of["slow"][:, :-1]
    loss = _cross_entropy(logits, _imagined_returns(made_of))
    loss = loss + 0.7 * _cross_entropy(logits, slow)
    weight = np.cumprod(made_of["cont"], axis=1)[:, :-1]
    expected = (weight * loss).mean(1).reshape(BATCH, TIME)
    np.testing.assert_allclose(losses["value"], expected, rtol=1e-3)


def test_replay_value_loss(losses):
    losses, *_, made_of = losses
    first = {k: made_of[k][:, 0].reshape(BATCH, TIME, *made_of[k].shape[2:]) for k in made_of}
    bootstrap = _imagined_returns(made_of)[:, 0].reshape(BATCH, TIME)
    targets = _replay_targets(np.asarray(tiny_batch().reward, np.float64), bootstrap)
    logits = first["value_logits"][:, :-1]
    loss = _cross_entropy(logits, targets)
    loss = loss + 0.7 * _cross_entropy(logits, first["slow"][:, :-1])
    assert losses["repval"].shape == (BATCH, TIME - 1)
    np.testing.assert_allclose(losses["repval"], loss * ~IS_LAST[:, :-1], rtol=1e-3)
    np.testing.assert_array_equal(losses["repval"] == 0, IS_LAST[:, :-1])


# Returns along replayed sequences


def _replayed(**flags):
    """Rewards 1, 2, 3, 4 with bootstraps 10, 20, 30, 40; discount and trace one half."""
    flags = {name: jnp.zeros((1, 4), bool).at[0, t].set(True) for name, t in flags.items()}
    batch = tiny_batch(reward=jnp.array([[1.0, 2.0, 3.0, 4.0]]), **flags)
    batch = batch._replace(
        **{k: x[:1] for k, x in batch._asdict().items() if k in ("is_last", "is_terminal")}
    )
    config = ActorCriticConfig(horizon=2.0, trace=0.5)
    return replay_returns(batch, jnp.array([[10.0, 20.0, 30.0, 40.0]]), config)[0]


def test_replay_returns_by_hand():
    # G_2 = 4 + 0.5 * 40, G_1 = 3 + 0.5 * (15 + G_2 / 2), G_0 = 2 + 0.5 * (10 + G_1 / 2)
    np.testing.assert_allclose(_replayed(), [11.125, 16.5, 24.0])


def test_replay_returns_are_cut_at_the_end_of_an_episode():
    # A time limit at step 2: its bootstrap alone follows, nothing of what comes after.
    np.testing.assert_allclose(_replayed(is_last=2), [11.5, 18.0, 24.0])


def test_nothing_follows_a_terminal_state():
    np.testing.assert_allclose(_replayed(is_last=2, is_terminal=2), [7.75, 3.0, 24.0])


def test_the_discount_follows_from_the_horizon():
    assert CONFIG.ac.discount == pytest.approx(1 - 1 / 333)
