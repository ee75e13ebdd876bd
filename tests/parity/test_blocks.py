"""Building blocks against recorded numbers of the published implementation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpld.config import ActorCriticConfig, OptimizerConfig
from gpld.losses import (
    Batch,
    ReturnNorm,
    constant,
    cosine_decay,
    delayed,
    exponential_decay,
    linear_decay,
    piecewise,
    replay_returns,
    sqrt_decay,
    step_decay,
)
from gpld.models import (
    BoundedNormal,
    OneHotCategorical,
    RMSNorm,
    StoredLatent,
    SymexpTwoHot,
    symexp,
    symexp_bins,
    symlog,
)
from gpld.optim import make_optimizer


@pytest.fixture(scope="module")
def blocks(blocks_path):
    with np.load(blocks_path) as data:
        return {name: data[name] for name in data.files}


def _close(actual, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def test_symexp_two_hot(blocks):
    logits = jnp.asarray(blocks["twohot/logits"])
    # The reference spaces its grid in float32, which moves bins by up to 2e-6, and with them
    # every term of the mean.
    np.testing.assert_allclose(symexp_bins(), blocks["twohot/bins"], rtol=2e-6)
    terms = jax.nn.softmax(logits) * np.abs(symexp_bins())[None]
    mean = jax.vmap(lambda x: SymexpTwoHot(x).mean())(logits)
    error = np.abs(mean - blocks["twohot/pred"])
    assert np.all(error <= 2e-6 * np.sum(terms, axis=1))
    loss = jax.vmap(lambda x, y: SymexpTwoHot(x).loss(y))
    _close(loss(logits, jnp.asarray(blocks["twohot/targets"])), blocks["twohot/loss"])
    uniform = SymexpTwoHot(jnp.zeros(symexp_bins().size)).mean()
    assert float(uniform) == float(blocks["twohot/pred_uniform"][0]) == 0.0


def test_one_hot_categorical(blocks):
    a, b = jnp.asarray(blocks["onehot/a"]), jnp.asarray(blocks["onehot/b"])
    dist = jax.vmap(lambda x: OneHotCategorical(x, 0.01))
    _close(dist(a).probs, blocks["onehot/probs_a"])
    _close(jax.vmap(OneHotCategorical.entropy)(dist(a)), blocks["onehot/entropy"])
    _close(jax.vmap(OneHotCategorical.kl)(dist(a), dist(b)), blocks["onehot/kl"])


def test_bounded_normal(blocks):
    dist = jax.vmap(BoundedNormal)(
        jnp.asarray(blocks["bnormal/mean_raw"]), jnp.asarray(blocks["bnormal/std_raw"])
    )
    event = jnp.asarray(blocks["bnormal/event"])
    _close(dist.std, blocks["bnormal/std"])
    _close(jax.vmap(BoundedNormal.log_prob)(dist, event), blocks["bnormal/logp"])
    _close(jax.vmap(BoundedNormal.entropy)(dist), blocks["bnormal/entropy"])


def test_replay_returns(blocks):
    last, term = jnp.asarray(blocks["lret/last"]), jnp.asarray(blocks["lret/term"])
    batch = Batch(
        observation={},
        prev_action=jnp.zeros((*last.shape, 1)),
        reward=jnp.asarray(blocks["lret/rew"]),
        is_first=jnp.zeros_like(last),
        is_last=last,
        is_terminal=term,
        context=StoredLatent(jnp.zeros((len(last), 1)), jnp.zeros((len(last), 1), jnp.uint8)),
    )
    horizon = 1 / (1 - float(blocks["lret/disc"]))
    config = ActorCriticConfig(horizon=horizon, trace=float(blocks["lret/lam"]))
    returns = replay_returns(batch, jnp.asarray(blocks["lret/boot"]), config)
    _close(returns, blocks["lret/ret"])


def test_optimizer(blocks):
    names = [k.removeprefix("opt/init/") for k in blocks if k.startswith("opt/init/")]
    params = {name: jnp.asarray(blocks[f"opt/init/{name}"]) for name in names}
    optimizer = make_optimizer(OptimizerConfig(learning_rate=4e-5, warmup=3))
    state = optimizer.init(params)
    num_updates = sum(k.startswith("opt/params/") and k.endswith(f"/{names[0]}") for k in blocks)
    assert num_updates
    for i in range(num_updates):
        grads = {name: jnp.asarray(blocks[f"opt/grad/{i}/{name}"]) for name in names}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        for name in names:
            _close(params[name], blocks[f"opt/params/{i}/{name}"], rtol=1e-6, atol=1e-9)


def test_return_norm(blocks):
    config, norm = ActorCriticConfig(), ReturnNorm()
    for returns, (offset, scale) in zip(
        blocks["retnorm/x"], blocks["retnorm/offset_scale"], strict=True
    ):
        norm = norm.update(jnp.asarray(returns), config)
        _close(norm.low, offset)
        _close(norm.scale(config), scale)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("none", constant(0.5)),
        ("linear", linear_decay(0.5, 100_000, 0.001)),
        ("exponential", exponential_decay(0.5, 100_000, 0.001)),
        ("cosine", cosine_decay(0.5, 100_000, 0.001)),
        ("step", step_decay(0.5, 0.9, 5000, 0.001)),
        ("sqrt_time", sqrt_decay(0.5, 1000, 0.001)),
        ("custom", piecewise(0.5, (100, 1000), (0.3, 0.05), 0.001)),
        ("sqrt_start2000", delayed(sqrt_decay(0.5, 1000, 0.001), 1000)),
    ],
)
def test_schedules(blocks, name, schedule):
    values = jax.vmap(schedule)(jnp.asarray(blocks["decay/steps"], jnp.int32))
    _close(values, blocks[f"decay/{name}"], rtol=1e-5, atol=1e-7)


def test_symlog(blocks):
    _close(symlog(jnp.asarray(blocks["symlog/x"])), blocks["symlog/y"])
    _close(symexp(jnp.asarray(blocks["symlog/y"])), blocks["symlog/inv"])


def test_rms_norm(blocks):
    norm = RMSNorm(blocks["rms/scale"].size)
    norm = eqx.tree_at(lambda m: m.scale, norm, jnp.asarray(blocks["rms/scale"]))
    _close(jax.vmap(norm)(jnp.asarray(blocks["rms/x"])), blocks["rms/y"])
