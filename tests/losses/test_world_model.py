"""World-model losses by hand, and which side of each KL learns."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from helpers import quick_jit, tiny_batch, tiny_model

from gpld.losses import observe, world_model_losses
from gpld.models import Latent, Rollout

BATCH, TIME, STOCH, CLASSES = 2, 4, 3, 4
DISCOUNT = 0.9


pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def _rollout(posterior_logits):
    rng = np.random.default_rng(0)
    one_hot = np.eye(CLASSES)[rng.integers(CLASSES, size=(BATCH, TIME, STOCH))]
    deter = jnp.asarray(rng.normal(size=(BATCH, TIME, 16)), jnp.float32)
    latent = Latent(deter, jnp.asarray(one_hot, jnp.float32))
    return Rollout(jnp.zeros((BATCH, TIME, 8)), latent, jnp.asarray(posterior_logits, jnp.float32))


def _wide():
    """Posterior logits of a large KL at every state."""
    return 6 * np.random.default_rng(1).normal(size=(BATCH, TIME, STOCH, CLASSES))


BATCH_DATA = tiny_batch(
    is_terminal=jnp.zeros((BATCH, TIME), bool).at[0, 2].set(True),
    is_last=jnp.zeros((BATCH, TIME), bool).at[0, 2].set(True).at[1, 1].set(True),
)


@pytest.fixture(scope="module")
def evaluate(model):
    """Losses and entropies, and the gradients of the mean `dyn` and `rep`."""

    def losses(model, rollout):
        args = (model, rollout, BATCH_DATA)
        losses, entropies = world_model_losses(*args, discount=DISCOUNT, free_nats=1.0)
        return jnp.stack([losses["dyn"].mean(), losses["rep"].mean()]), (losses, entropies)

    jacobian = quick_jit(jax.jacrev(losses, (0, 1), has_aux=True))
    with jax.numpy_dtype_promotion("strict"):
        yield lambda rollout: jacobian(model, rollout)


def _probs(logits):
    exponential = np.exp(np.asarray(logits, np.float64))
    return 0.99 * exponential / exponential.sum(-1, keepdims=True) + 0.01 / CLASSES


def _prior_logits(model, rollout):
    return jax.jit(jax.vmap(jax.vmap(model.rssm.prior_logits)))(rollout.latent.deter)


def _size(tree, i):
    return max(float(jnp.max(jnp.abs(x[i]))) for x in jax.tree.leaves(tree))


def test_kls_and_entropies(model, evaluate):
    rollout = _rollout(_wide())
    _, (losses, entropies) = evaluate(rollout)
    q, p = _probs(rollout.posterior_logits), _probs(_prior_logits(model, rollout))
    kl = scipy.stats.entropy(q, p, axis=-1).sum(-1)
    assert kl.min() > 1
    for name in ("dyn", "rep"):
        np.testing.assert_allclose(losses[name], kl, rtol=1e-4)
    for name, dist in (("dyn_ent", p), ("rep_ent", q)):
        expected = scipy.stats.entropy(dist, axis=-1).sum(-1)
        np.testing.assert_allclose(entropies[name], expected, rtol=1e-4)


def test_each_kl_has_gradients_on_its_side_alone(evaluate):
    (by_model, by_rollout), _ = evaluate(_rollout(_wide()))
    dyn, rep = 0, 1
    prior = (by_model.rssm.prior_mlp, by_model.rssm.prior_out)
    assert _size(prior, dyn) > 1e-3
    assert _size(prior, rep) == 0
    assert _size(by_rollout.posterior_logits, dyn) == 0
    assert _size(by_rollout.posterior_logits, rep) > 1e-3
    # The prior is taken at h_t, and only q is held fixed in `dyn`.
    assert _size(by_rollout.latent.deter, dyn) > 1e-3
    assert _size(by_rollout.latent.deter, rep) == 0


def test_kls_below_the_free_nats_have_no_gradient(model, evaluate):
    prior_logits = _prior_logits(model, _rollout(_wide()))
    (by_model, by_rollout), (losses, _) = evaluate(_rollout(prior_logits + 0.1 * _wide()))
    for name in ("dyn", "rep"):
        np.testing.assert_array_equal(losses[name], np.ones((BATCH, TIME)))
    assert all(_size((by_model, by_rollout), i) == 0 for i in (0, 1))


def test_free_nats_apply_to_the_sum_over_rows(model, evaluate):
    """Three rows of half a nat each are above the limit together."""
    q = np.full((BATCH, TIME, STOCH, CLASSES), 0.01 / CLASSES)
    p = _probs(_prior_logits(model, _rollout(_wide())))
    # Mixes prior and a corner so that every row has a KL of about half a nat.
    for index in np.ndindex(BATCH, TIME, STOCH):
        corner = np.eye(CLASSES)[p[index].argmin()]
        shares = [(s * corner + (1 - s) * p[index]) for s in np.linspace(0, 0.97, 200)]
        kls = np.array([scipy.stats.entropy(x, p[index]) for x in shares])
        q[index] = shares[np.abs(kls - 0.5).argmin()]
    logits = np.log((q - 0.01 / CLASSES).clip(1e-9))
    _, (losses, _) = evaluate(_rollout(logits))
    np.testing.assert_allclose(losses["rep"], 1.5, atol=0.2)


def test_continue_learns_the_discount_and_zero_at_a_true_end(model, evaluate):
    rollout = _rollout(_wide())
    _, (losses, _) = evaluate(rollout)
    logit = jax.jit(jax.vmap(jax.vmap(lambda z: model.cont(z.feat()).logit)))(rollout.latent)
    p = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    target = np.full((BATCH, TIME), DISCOUNT)
    target[0, 2] = 0  # (1, 1) is a time limit: nothing changes there
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    np.testing.assert_allclose(losses["con"], expected, rtol=1e-4)


def test_reward_and_reconstruction_are_those_of_the_same_step(model, evaluate):
    rollout = _rollout(_wide())
    _, (losses, _) = evaluate(rollout)
    feat = jax.vmap(jax.vmap(lambda z: z.feat()))(rollout.latent)
    logits = np.asarray(jax.jit(jax.vmap(jax.vmap(lambda x: model.reward(x).logits)))(feat))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    reward = np.asarray(BATCH_DATA.reward, np.float64)
    bins = np.sign(np.arange(-127, 128)) * np.expm1(np.abs(np.linspace(-20, 20, 255)))
    upper = np.searchsorted(bins, reward)
    weight = (reward - bins[upper - 1]) / (bins[upper] - bins[upper - 1])
    take = lambda i: np.take_along_axis(log_probs, i[..., None], -1)[..., 0]  # noqa: E731
    expected = -(weight * take(upper) + (1 - weight) * take(upper - 1))
    np.testing.assert_allclose(losses["rew"], expected, rtol=1e-4)
    decoded = jax.jit(jax.vmap(jax.vmap(lambda z: model.decoder(z))))(rollout.latent)
    for name, prediction in decoded.items():
        x = np.asarray(BATCH_DATA.observation[name], np.float64)
        error = np.square(np.asarray(prediction) - np.sign(x) * np.log1p(np.abs(x)))
        expected = error.reshape(BATCH, TIME, -1).sum(-1)
        np.testing.assert_allclose(losses[name], expected, rtol=1e-3, atol=1e-5)


def test_names(evaluate):
    _, (losses, entropies) = evaluate(_rollout(_wide()))
    assert set(losses) == {"velocity", "height", "rew", "con", "dyn", "rep"}
    assert set(entropies) == {"dyn_ent", "rep_ent"}
    assert all(x.shape == (BATCH, TIME) for x in (*losses.values(), *entropies.values()))


def test_observe_starts_from_the_stored_context(model):
    first = jnp.zeros((BATCH, TIME), bool).at[1, 0].set(True)
    batch = tiny_batch(is_first=first)
    rollout = jax.jit(lambda batch: observe(model, batch, key=jr.key(0)))(batch)
    core = jax.jit(lambda *args: model.rssm.core(*args))
    stoch = np.eye(CLASSES, dtype=np.float32)[np.asarray(batch.context.classes)]
    expected = core(batch.context.deter[0], jnp.asarray(stoch[0]), batch.prev_action[0, 0])
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(rollout.latent.deter[0, 0], expected, **close)
    expected = core(*model.rssm.initial(), jnp.zeros(2))
    np.testing.assert_allclose(rollout.latent.deter[1, 0], expected, **close)
    # Later steps take the action at their own index, which led to them.
    previous = (rollout.latent.deter[0, 1], rollout.latent.stoch[0, 1])
    expected = core(*previous, batch.prev_action[0, 2])
    np.testing.assert_allclose(rollout.latent.deter[0, 2], expected, **close)
    logits = jax.jit(jax.vmap(jax.vmap(model.rssm.posterior_logits)))(
        rollout.latent.deter, rollout.embed
    )
    np.testing.assert_allclose(rollout.posterior_logits, logits, **close)
    embed = jax.jit(jax.vmap(jax.vmap(lambda x: model.encoder(x))))(batch.observation)
    np.testing.assert_allclose(rollout.embed, embed, **close)
