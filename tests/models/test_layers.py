"""Initialisation, precision and known answers of the layers."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import build

from gpld.models import MLP, BlockLinear, Hidden, Linear, RMSNorm, truncated_normal_init
from gpld.models.layers import normalise, silu

pytestmark = pytest.mark.usefixtures("strict_promotion")


# The relative standard error of the standard deviation of n truncated normals (kurtosis
# 2.37) is 0.58 / sqrt(n): 0.2 % for 80,000, so that 2 % is ten of them.
@pytest.mark.parametrize(
    ("shape", "fan_in"), [((200, 400), 200), ((8, 50, 200), 400), ((5, 5, 16, 200), 400)]
)
def test_kernels_have_the_variance_of_their_fan_in(getkey, shape, fan_in):
    kernel = np.asarray(truncated_normal_init(getkey(), shape, 0.5))
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel.std(), 0.5 / math.sqrt(fan_in), rtol=0.02)
    assert abs(kernel.mean()) < 6 * kernel.std() / math.sqrt(kernel.size)


def test_kernels_are_truncated_by_resampling(getkey):
    kernel = np.abs(truncated_normal_init(getkey(), (200, 400)))
    limit = 2 * 1.1368 / math.sqrt(200)
    assert kernel.max() <= limit
    # Of a normal truncated at 2, 1.2 % lies in the last twentieth; if clipped, 5 % at its end.
    outermost = np.mean(kernel > 0.95 * limit)
    assert 0.008 < outermost < 0.016
    assert np.mean(kernel == kernel.max()) < 1e-3


def test_scale_zero_gives_exact_zeros(getkey):
    linear = Linear(3, 4, scale=0.0, key=getkey())
    np.testing.assert_array_equal(linear.kernel, np.zeros((3, 4)))


def test_new_layers_have_zero_biases_and_unit_scales(getkey):
    hidden = Hidden(3, 4, key=getkey())
    blocks = BlockLinear(2, 3, 5, shared=4, key=getkey())
    assert hidden.linear.kernel.shape == (3, 4)
    assert blocks.kernel.shape == (2, 7, 5)
    np.testing.assert_array_equal(hidden.linear.bias, np.zeros(4))
    np.testing.assert_array_equal(blocks.bias, np.zeros(10))
    np.testing.assert_array_equal(hidden.norm.scale, np.ones(4))


def test_linear_is_affine():
    linear = eqx.tree_at(
        lambda m: (m.kernel, m.bias),
        build(Linear, 2, 3),
        (jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), jnp.array([0.5, 0.0, -0.5])),
    )
    np.testing.assert_array_equal(linear(jnp.array([1.0, -1.0])), [-2.5, -3.0, -3.5])


@pytest.mark.parametrize("form", ["batched", "separate"])
@pytest.mark.parametrize("shared", [0, 2])
def test_block_linear_equals_the_dense_product(shared, form):
    blocks, inputs, outputs = 3, 4, 5
    module = build(BlockLinear, blocks, inputs, outputs, shared=shared, form=form)
    rng = np.random.default_rng(1)
    x, extra = rng.normal(size=(blocks, inputs)), rng.normal(size=shared)
    # Every block's input is its own part with the shared one appended, flattened by blocks.
    stacked = np.concatenate([np.append(row, extra) for row in x])
    dense = np.zeros((stacked.size, blocks * outputs))
    width = inputs + shared
    for g in range(blocks):
        own = np.s_[g * width : (g + 1) * width, g * outputs : (g + 1) * outputs]
        dense[own] = module.kernel[g]
    expected = (stacked @ dense + np.asarray(module.bias)).reshape(blocks, outputs)
    x, extra = jnp.asarray(x, jnp.float32), jnp.asarray(extra, jnp.float32)
    actual = module(x, extra) if shared else module(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_rms_norm_known_answer():
    norm = eqx.tree_at(lambda m: m.scale, RMSNorm(2), jnp.array([1.0, -2.0]))
    # Mean square (9 + 16) / 2 = 12.5, eps 1e-4.
    expected = np.array([3.0, -8.0]) / math.sqrt(12.5001)
    np.testing.assert_allclose(norm(jnp.array([3.0, 4.0])), expected, rtol=1e-6)


def test_rms_norm_bounds_small_inputs():
    # Near zero eps decides: a gain of 1 / sqrt(1e-4) = 100, and no division by zero.
    np.testing.assert_allclose(RMSNorm(2)(jnp.array([1e-6, 0.0])), [1e-4, 0.0], rtol=1e-5)


def test_rms_norm_takes_its_statistics_in_float32():
    rng = np.random.default_rng(0)
    scale, x = 1 + 0.3 * rng.normal(size=512), rng.normal(size=512).astype(jnp.bfloat16)
    norm = eqx.tree_at(lambda m: m.scale, RMSNorm(512), jnp.asarray(scale, jnp.float32))
    actual = norm(jnp.asarray(x))
    assert actual.dtype == jnp.bfloat16
    exact = x.astype(np.float64)
    exact = exact / np.sqrt(np.mean(exact**2) + 1e-4) * scale
    # Rounded once, at the end: only numbers on the edge between two bfloat16 may differ.
    assert np.mean(np.asarray(actual) != exact.astype(jnp.bfloat16)) < 0.01


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_layers_compute_in_the_dtype_of_their_input(dtype):
    x = jax.ShapeDtypeStruct((4,), dtype)
    block = build(BlockLinear, 2, 2, 3, shared=4)
    for layer in (
        build(Linear, 4, 2),
        RMSNorm(4),
        build(MLP, 4, 2, 2),
        lambda x: block(x.reshape(2, 2), x),
    ):
        assert {y.dtype for y in jax.tree.leaves(jax.eval_shape(layer, x))} == {jnp.dtype(dtype)}


def test_kernels_are_rounded_to_the_dtype_of_the_input():
    kernel = jnp.array([[1 + 2**-10], [1.0]])  # bfloat16 rounds it to 1
    linear = eqx.tree_at(lambda m: (m.kernel, m.bias), build(Linear, 2, 1), (kernel, jnp.zeros(1)))
    x = jnp.array([1.0, -1.0])
    assert linear(x)[0] == 2**-10
    assert linear(x.astype(jnp.bfloat16))[0] == 0


def test_mlp_is_linear_then_norm_then_silu_in_every_layer():
    mlp = build(MLP, 3, 4, 2)
    x = np.array([0.3, -1.0, 2.0])
    actual = eqx.filter_jit(mlp)(jnp.asarray(x, jnp.float32))
    assert len(mlp.layers) == 2
    for layer in mlp.layers:
        x = x @ np.asarray(layer.linear.kernel) + np.asarray(layer.linear.bias)
        x = x / np.sqrt(np.mean(x**2) + 1e-4) * np.asarray(layer.norm.scale)
        x = x / (1 + np.exp(-x))
    np.testing.assert_allclose(actual, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_stated_derivatives_are_those_of_the_functions(dtype):
    """First and second derivatives, against those that JAX finds itself."""
    rng = np.random.default_rng(0)
    x, direction, weight = (jnp.asarray(rng.normal(size=16), dtype) for _ in range(3))
    pairs = [
        (silu, lambda x: x * jax.nn.sigmoid(x)),
        (
            lambda x: normalise(x.astype(jnp.float32), 1e-4),
            lambda x: (y := x.astype(jnp.float32)) / jnp.sqrt(jnp.mean(y**2) + 1e-4),
        ),
    ]

    def derivatives(fn):
        first = lambda x: jax.vjp(fn, x)[1](weight.astype(fn(x).dtype))[0]  # noqa: E731
        second = jax.jvp(first, (x,), (direction,))[1]
        return fn(x), jax.jvp(fn, (x,), (direction,))[1], first(x), second

    for stated, found in pairs:
        actual, expected = jax.jit(lambda f=stated, g=found: (derivatives(f), derivatives(g)))()
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == b.dtype
            a, b = (np.asarray(z, np.float32) for z in (a, b))
            rtol = 1e-5 if dtype == jnp.float32 else 0.02
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())
