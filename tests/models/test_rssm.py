"""The recurrent state-space model against plain NumPy and by its invariants."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import tiny_rssm

from gpld.models import BlockGRU, Latent, StoredLatent

DETER, STOCH, CLASSES, EMBED, ACTION, HIDDEN, BLOCKS = 16, 3, 4, 5, 2, 8, 4


pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.fixture(scope="module")
def rssm():
    return tiny_rssm()


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _latent(seed):
    classes = np.random.default_rng(seed).integers(CLASSES, size=STOCH)
    return Latent(_normal(seed, DETER), jnp.asarray(np.eye(CLASSES, dtype=np.float32)[classes]))


@pytest.fixture(scope="module")
def observe(rssm):
    return jax.jit(lambda *args, key: rssm.observe(*args, key=key))


@pytest.fixture(scope="module")
def core(rssm):
    return jax.jit(lambda *args: rssm.core(*args))


def _with_form(core, form):
    """The same sequence model, with another way of taking products."""
    make = lambda key: BlockGRU(  # noqa: E731
        DETER, STOCH * CLASSES, ACTION, hidden=HIDDEN, blocks=BLOCKS, form=form, key=key
    )
    structure = jax.tree.structure(eqx.filter_eval_shape(make, jr.key(0)))
    return jax.tree.unflatten(structure, jax.tree.leaves(core))


# The sequence model


def _silu(x):
    return x / (1 + np.exp(-x))


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _rms_norm(x, scale):
    return x / np.sqrt(np.mean(x**2) + 1e-4) * scale


def _numpy_core(core, h, z, a):
    """SPEC 5.2 for one state, block by block."""
    core = jax.tree.map(lambda x: np.asarray(x, np.float64), core)

    def embedded(layer, x):
        return _silu(_rms_norm(x @ layer.linear.kernel + layer.linear.bias, layer.norm.scale))

    shared = np.concatenate(
        [
            embedded(core.deter_in, h),
            embedded(core.stoch_in, z.reshape(-1)),
            embedded(core.action_in, a / np.maximum(1, np.abs(a))),
        ]
    )
    width = DETER // BLOCKS
    x = np.concatenate(
        [
            np.concatenate([h[g * width : (g + 1) * width], shared]) @ core.hidden.kernel[g]
            for g in range(BLOCKS)
        ]
    )
    x = _silu(_rms_norm(x + core.hidden.bias, core.norm.scale))
    new = np.zeros(DETER)
    for g in range(BLOCKS):
        own = slice(g * width, (g + 1) * width)
        bias = core.gates.bias[3 * g * width : 3 * (g + 1) * width]
        y = x[own] @ core.gates.kernel[g] + bias
        reset, candidate, update = y[:width], y[width : 2 * width], y[2 * width :]
        candidate = np.tanh(_sigmoid(reset) * candidate)
        update = _sigmoid(update - 1)
        new[own] = update * candidate + (1 - update) * h[own]
    return new


@pytest.mark.parametrize("form", ["batched", "separate"])
def test_core_equals_a_blockwise_gru(rssm, form):
    latent, action = _latent(0), jnp.array([0.3, -2.5])
    core = _with_form(rssm.core, form)
    actual = jax.jit(lambda *args: core(*args))(*latent, action)
    expected = _numpy_core(rssm.core, *(np.asarray(x, np.float64) for x in (*latent, action)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_actions_beyond_one_count_as_one(core):
    latent = _latent(0)
    beyond, at = core(*latent, jnp.array([7.0, -1.5])), core(*latent, jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(beyond, at)
    assert np.any(np.asarray(core(*latent, jnp.array([0.9, -1.0]))) != np.asarray(at))


def test_gradient_of_the_action_goes_through_the_numerator_only(rssm):
    latent = _latent(0)
    jacobian = jax.jit(jax.jacfwd(lambda a: rssm.core(*latent, a)))
    at, beyond = jacobian(jnp.array([1.0, -1.0])), jacobian(jnp.array([2.0, -4.0]))
    np.testing.assert_allclose(beyond, np.asarray(at) / [2, 4], rtol=1e-4, atol=1e-7)
    assert np.all(np.abs(at).max(axis=0) > 1e-3)


# Prior, posterior and states


def test_prior_and_posterior_probabilities(rssm):
    pairs = jax.jit(
        lambda deter, embed: (
            (rssm.prior_probs(deter), rssm.prior_logits(deter)),
            (rssm.posterior_probs(deter, embed), rssm.posterior_logits(deter, embed)),
        )
    )
    for probs, logits in pairs(_normal(0, DETER), _normal(1, EMBED)):
        assert probs.shape == logits.shape == (STOCH, CLASSES)
        exponential = np.exp(np.asarray(logits, np.float64))
        softmax = exponential / exponential.sum(-1, keepdims=True)
        np.testing.assert_allclose(probs, 0.99 * softmax + 0.01 / CLASSES, rtol=1e-5)


def test_posterior_sees_deter_before_embed(rssm):
    deter, embed = _normal(0, DETER), _normal(1, EMBED)
    joined = jnp.concatenate([deter, embed])
    expected = rssm.posterior_out(rssm.posterior_mlp(joined)).reshape(STOCH, CLASSES)
    np.testing.assert_array_equal(rssm.posterior_logits(deter, embed), expected)
    assert len(rssm.posterior_mlp.layers) == 1
    assert len(rssm.prior_mlp.layers) == 2


def test_feature_is_deter_then_stoch_by_rows():
    latent = Latent(jnp.array([1.0, 2.0]), jnp.array([[3.0, 4.0], [5.0, 6.0]]))
    np.testing.assert_array_equal(latent.feat(), [1, 2, 3, 4, 5, 6])


def test_initial_state_is_zero(rssm):
    assert rssm.initial().deter.shape == (DETER,)
    assert rssm.initial().stoch.shape == (STOCH, CLASSES)
    assert all(not np.any(x) for x in rssm.initial())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_storing_a_sampled_latent_loses_nothing(dtype):
    rssm = tiny_rssm(dtype, classes=256)
    classes = jnp.array([0, 255, 17], jnp.uint8)
    stoch = jnp.asarray(np.eye(256)[np.asarray(classes)], dtype)
    latent = Latent(_normal(0, DETER).astype(dtype), stoch)
    stored = rssm.store(latent)
    assert stored.classes.dtype == jnp.uint8
    np.testing.assert_array_equal(stored.classes, classes)
    # Replay may keep `deter` in another dtype.
    restored = rssm.restore(StoredLatent(stored.deter.astype(jnp.float32), stored.classes))
    assert all(x.dtype == dtype for x in restored)
    jax.tree.map(np.testing.assert_array_equal, restored, latent)


def test_states_keep_the_compute_dtype():
    rssm = tiny_rssm("bfloat16")
    embed, action = jnp.zeros(EMBED, "bfloat16"), jnp.zeros(ACTION)
    args = (rssm.initial(), embed, action, jnp.array(False))
    with jax.numpy_dtype_promotion("standard"):
        latent, logits = jax.eval_shape(lambda *args: rssm.observe(*args, key=jr.key(0)), *args)
        imagined = jax.eval_shape(lambda *args: rssm.imagine(*args, key=jr.key(0)), latent, action)
    assert {x.dtype for x in (*latent, *imagined, logits)} == {jnp.dtype("bfloat16")}


# Steps


def test_observe_advances_with_core_and_samples_the_posterior(rssm, core, observe):
    latent, action, embed = _latent(0), _normal(2, ACTION), _normal(1, EMBED)
    key = jr.key(3)
    new, logits = observe(latent, embed, action, jnp.array(False), key=key)
    np.testing.assert_allclose(new.deter, core(*latent, action), rtol=1e-5, atol=1e-6)
    expected = jax.jit(lambda *args: rssm.posterior_logits(*args))(new.deter, embed)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(new.stoch, rssm.dist(logits).sample(key))


def test_imagine_advances_with_core_and_samples_the_prior(rssm, core):
    latent, action, key = _latent(0), _normal(2, ACTION), jr.key(3)
    new = jax.jit(lambda *args: rssm.imagine(*args, key=key))(latent, action)
    np.testing.assert_allclose(new.deter, core(*latent, action), rtol=1e-5, atol=1e-6)
    expected = jax.jit(lambda x: rssm.dist(rssm.prior_logits(x)).sample(key))(new.deter)
    np.testing.assert_array_equal(new.stoch, expected)


def test_the_first_step_of_an_episode_forgets_latent_and_action(rssm, core, observe):
    embed, first, key = _normal(1, EMBED), jnp.array(True), jr.key(0)
    zero = (rssm.initial(), embed, jnp.zeros(ACTION))
    expected = observe(*zero, first, key=key)
    junk = observe(_latent(0), embed, _normal(2, ACTION), first, key=key)
    jax.tree.map(np.testing.assert_array_equal, junk, expected)
    # Not zero, but one step of the sequence model from zero.
    np.testing.assert_allclose(junk[0].deter, core(*rssm.initial(), jnp.zeros(ACTION)), atol=1e-6)
    assert np.any(np.abs(junk[0].deter) > 1e-2)


@pytest.fixture(scope="module")
def sequence(rssm):
    """Rollout of a sequence, and the gradient of its last `deter` by all inputs."""

    def deter(inputs, is_first):
        latent, embed, action = inputs
        rollout = rssm.observe_sequence(latent, embed, action, is_first, key=jr.key(5))
        return jnp.sum(rollout.latent.deter[-1]), rollout

    inputs = (_latent(0), _normal(1, 4, EMBED), _normal(2, 4, ACTION))
    with jax.numpy_dtype_promotion("strict"):
        grad = jax.jit(jax.grad(deter, has_aux=True))
        yield inputs, lambda *first: grad(inputs, jnp.array(first))


def test_observe_sequence_equals_stepping_by_hand(rssm, observe, sequence):
    (latent, embed, action), run = sequence
    is_first = (False, False, True, False)
    _, rollout = run(*is_first)
    np.testing.assert_array_equal(rollout.embed, embed)
    keys = jr.split(jr.key(5), 4)
    for t in range(4):
        latent, logits = observe(latent, embed[t], action[t], jnp.array(is_first[t]), key=keys[t])
        np.testing.assert_allclose(rollout.latent.deter[t], latent.deter, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(rollout.latent.stoch[t].round(), latent.stoch.round())
        np.testing.assert_allclose(rollout.posterior_logits[t], logits, rtol=1e-4, atol=1e-5)


def test_gradients_flow_through_time(sequence):
    _, run = sequence
    (latent, embed, action), _ = run(False, False, False, False)
    assert np.all(np.any(np.abs(action) > 1e-9, axis=-1))
    # The last embedding only shapes the state after the last `deter`; the others reach it
    # through the straight-through samples.
    np.testing.assert_array_equal(np.any(np.asarray(embed) != 0, axis=-1), [True] * 3 + [False])
    assert np.any(np.abs(latent.deter) > 1e-9)
    assert np.any(np.abs(latent.stoch) > 1e-9)


def test_gradients_stop_at_the_beginning_of_an_episode(sequence):
    _, run = sequence
    (latent, embed, action), _ = run(False, False, True, False)
    assert not np.any(latent.deter)
    assert not np.any(latent.stoch)
    np.testing.assert_array_equal(
        np.any(np.asarray(embed) != 0, axis=-1), [False, False, True, False]
    )
    np.testing.assert_array_equal(
        np.any(np.asarray(action) != 0, axis=-1), [False, False, False, True]
    )
