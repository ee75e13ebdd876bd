"""Lambda-returns by hand and against a plain loop; percentiles beyond the floor."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from gpld.config import ActorCriticConfig
from gpld.losses import ReturnNorm, lambda_returns

both_forms = pytest.mark.parametrize(
    "returns",
    [jax.jit(lambda_returns), jax.jit(functools.partial(lambda_returns, parallel=True))],
    ids=["step by step", "parallel"],
)


def _array(*values):
    return jnp.array(values, jnp.float32)


@both_forms
def test_lambda_returns_by_hand(returns):
    # R_2 = 4 + 0.5 * 8 = 8
    # R_1 = 2 + 0.5 * (0.75 * 6 + 0.25 * R_2) = 5.25
    # R_0 = 1 + 0.9 * (0.5 * 10 + 0.5 * R_1) = 7.8625
    actual = returns(
        reward=_array(1, 2, 4),
        discount=_array(0.9, 0.5, 0.5),
        bootstrap=_array(10, 6, 8),
        trace=_array(0.5, 0.25, 0.9),
    )
    np.testing.assert_allclose(actual, [7.8625, 5.25, 8.0], rtol=1e-6)


@both_forms
def test_trace_zero_is_the_one_step_target(returns):
    reward, bootstrap = _array(1, 2, 3), _array(5, 6, 7)
    actual = returns(reward, jnp.full(3, 0.9), bootstrap, jnp.zeros(3))
    np.testing.assert_allclose(actual, [1 + 4.5, 2 + 5.4, 3 + 6.3], rtol=1e-6)


@both_forms
def test_trace_one_is_the_discounted_sum_and_the_last_bootstrap(returns):
    reward, bootstrap = _array(1, 2, 3), _array(100, 100, 7)
    actual = returns(reward, jnp.full(3, 0.5), bootstrap, jnp.ones(3))
    np.testing.assert_allclose(actual[0], 1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 7, rtol=1e-6)
    np.testing.assert_allclose(actual[2], 3 + 0.5 * 7, rtol=1e-6)


@both_forms
def test_discount_zero_ends_the_return(returns):
    discount = _array(0.9, 0.0, 0.9)
    actual = returns(_array(1, 2, 3), discount, _array(10, 10, 10), jnp.full(3, 0.8))
    np.testing.assert_allclose(actual[1], 2, rtol=1e-6)
    np.testing.assert_allclose(actual[0], 1 + 0.9 * (0.2 * 10 + 0.8 * 2), rtol=1e-6)


_unit = arrays(np.float32, 5, elements=st.floats(0, 1, width=32))
_real = arrays(np.float32, 5, elements=st.floats(-100, 100, width=32))


@both_forms
@settings(max_examples=50, deadline=None)
@given(reward=_real, discount=_unit, bootstrap=_real, trace=_unit)
def test_lambda_returns_mix_the_n_step_returns(returns, reward, discount, bootstrap, trace):
    """R_t is the mean of the n-step returns, n drawn with the traces as survival."""
    inputs = (reward, discount, bootstrap, trace)
    r, d, b, k = (x.astype(np.float64) for x in inputs)
    for t in range(5):
        total, survival, gain, rewards = 0.0, 1.0, 1.0, 0.0
        for i in range(t, 5):
            rewards += gain * r[i]
            gain *= d[i]
            stops = 1.0 if i == 4 else 1 - k[i]
            total += survival * stops * (rewards + gain * b[i])
            survival *= k[i]
        np.testing.assert_allclose(returns(*inputs)[t], total, rtol=1e-4, atol=1e-3)


update = jax.jit(ReturnNorm.update, static_argnums=2)


def test_return_norm_moves_towards_the_percentiles():
    config = ActorCriticConfig()
    # 0 to 200: the 5th percentile is 10 and the 95th 190.
    norm = update(ReturnNorm(), jnp.arange(201.0).reshape(3, 67), config)
    np.testing.assert_allclose([norm.low, norm.high], [0.1, 1.9], rtol=1e-5)
    np.testing.assert_allclose(norm.scale(config), 1.8, rtol=1e-5)
    # Further steps: 1 - 0.99^n of the way.
    for _ in range(2):
        norm = update(norm, jnp.arange(201.0).reshape(3, 67), config)
    share = 1 - 0.99**3
    np.testing.assert_allclose([norm.low, norm.high], [10 * share, 190 * share], rtol=1e-5)
    np.testing.assert_allclose(norm.scale(config), 180 * share, rtol=1e-5)


def test_return_norm_interpolates_between_returns():
    config = ActorCriticConfig(return_rate=1.0, return_percentiles=(25.0, 50.0))
    norm = update(ReturnNorm(), _array(0, 10, 40), config)
    np.testing.assert_allclose([norm.low, norm.high], [5, 10], rtol=1e-6)


def test_return_norm_never_blows_up_small_returns():
    config = ActorCriticConfig(return_rate=1.0)
    norm = update(ReturnNorm(), jnp.linspace(3.0, 3.5, 11), config)
    assert norm.scale(config) == 1
    assert norm.scale(ActorCriticConfig(return_limit=0.01)) < 0.5


def test_return_norm_gives_no_gradient():
    config = ActorCriticConfig(return_rate=1.0)
    scale = lambda x: ReturnNorm().update(x, config).scale(config)  # noqa: E731
    grad = jax.jit(jax.grad(scale))(jnp.arange(100.0))
    np.testing.assert_array_equal(grad, np.zeros(100))
