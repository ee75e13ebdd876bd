"""Convolutions, and the networks made of them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import build

from gpld.config import ModelConfig
from gpld.models import Decoder, Dreamer, Encoder, ImageDecoder, ImageEncoder, Latent
from gpld.models.convolutions import Conv, pool, upsample

FLOAT32 = jnp.dtype("float32")
RNG = np.random.default_rng(0)


def _image(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


# Layers


@pytest.mark.parametrize("side", [1, 3, 5])
def test_convolution_sums_products_around_each_pixel(side):
    conv, x = build(Conv, 2, 3, side=side), _image(4, 6, 2)
    kernel, bias = np.asarray(conv.kernel, np.float64), np.asarray(conv.bias, np.float64)
    padded = np.pad(np.asarray(x, np.float64), [(side // 2,) * 2, (side // 2,) * 2, (0, 0)])
    expected = [
        [
            np.einsum("ijc,ijcd->d", padded[row : row + side, column : column + side], kernel)
            for column in range(6)
        ]
        for row in range(4)
    ]
    np.testing.assert_allclose(conv(x), np.asarray(expected) + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [1, 3, 5, 7])
@pytest.mark.parametrize(
    ("direct", "plain"),
    [
        (Conv.upsampled, lambda conv, x: conv(upsample(x))),
        (Conv.pooled, lambda conv, x: pool(conv(x))),
    ],
    ids=["upsampled", "pooled"],
)
def test_a_change_of_size_is_part_of_the_convolution(direct, plain, side):
    conv, x = build(Conv, 2, 3, side=side), _image(6, 8, 2)
    conv = eqx.tree_at(lambda conv: conv.bias, conv, jnp.array([0.5, -1, 2]))
    expected = plain(conv, x)
    weights = _image(*expected.shape)
    np.testing.assert_allclose(direct(conv, x), expected, rtol=1e-5, atol=1e-5)
    gradients = [
        jax.grad(lambda *args, fn=fn: jnp.sum(weights * fn(*args)), argnums=(0, 1))(conv, x)
        for fn in (direct, plain)
    ]
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_enlarging_repeats_pixels():
    x = jnp.array([[[1.0], [2.0]]])
    np.testing.assert_array_equal(upsample(x)[..., 0], [[1, 1, 2, 2], [1, 1, 2, 2]])


def test_pooling_takes_the_largest_and_equal_ones_share_the_derivative():
    x = jnp.array([[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]])[..., None]
    np.testing.assert_array_equal(pool(x)[..., 0], [[5, 2]])
    slope = jax.grad(lambda x: jnp.sum(pool(x)))(x)[..., 0]
    np.testing.assert_array_equal(slope, [[0, 1, 0.25, 0.25], [0, 0, 0.25, 0.25]])


# Networks


def _encoder(shapes, channels=(4, 6), dtype=FLOAT32):
    return build(ImageEncoder, shapes, channels=channels, side=3, dtype=dtype)


def test_images_are_joined_in_sorted_order_and_centred():
    encoder = _encoder({"b": (8, 12, 3), "a": (8, 12, 1)})
    images = {
        name: RNG.integers(256, size=(8, 12, channels)).astype(np.uint8)
        for name, channels in (("a", 1), ("b", 3))
    }
    x = jnp.asarray(np.concatenate([images["a"], images["b"]], -1) / 255 - 0.5, jnp.float32)
    for layer in encoder.layers:
        y = pool(layer.conv(x))
        y = y / jnp.sqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-4)
        x = jax.nn.silu(y * layer.norm.scale[None, None])
    embed = encoder({name: jnp.asarray(image) for name, image in images.items()})
    np.testing.assert_allclose(embed, x.reshape(-1), rtol=1e-4, atol=1e-5)
    assert encoder.embed_size == embed.size == 2 * 3 * 6


def test_an_encoder_computes_in_its_dtype():
    encoder = _encoder({"a": (4, 4, 1)}, dtype=jnp.dtype("bfloat16"))
    assert encoder({"a": jnp.zeros((4, 4, 1), jnp.uint8)}).dtype == jnp.bfloat16


def _decoder(shapes, blocks=2):
    return build(ImageDecoder, shapes, 8, 6, units=5, channels=(4, 6), side=3, blocks=blocks)


def _latent(deter=8):
    return Latent(_image(deter), _image(2, 3))


def test_images_are_predicted_in_their_shapes_between_0_and_1():
    shapes = {"b": (8, 12, 3), "a": (8, 12, 1)}
    decoder, latent = _decoder(shapes), _latent()
    predictions = decoder(latent)
    assert {name: image.shape for name, image in predictions.items()} == shapes
    joined = jnp.concatenate([predictions["a"], predictions["b"]], axis=-1)
    expected = jax.nn.sigmoid(decoder.out(upsample(decoder._enlarged(latent))))
    np.testing.assert_allclose(joined, expected, rtol=1e-4, atol=1e-5)


def test_a_block_of_deter_draws_channels_of_its_own():
    decoder, latent = _decoder({"a": (8, 8, 1)}), _latent()
    deter = latent.deter.at[5].add(1)  # in the second of two blocks
    change = decoder._small(latent._replace(deter=deter)) - decoder._small(latent)
    assert np.all(change[..., :3] == 0)
    assert np.all(change[..., 3:] != 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _encoder({"a": (8, 8, 3), "b": (4, 4, 3)}), "equally large"),
        (lambda: _encoder({"a": (8, 6, 3)}), "multiples of 4, got 8 x 6"),
        (lambda: _decoder({"a": (6, 8, 3)}), "multiples of 4, got 6 x 8"),
        (lambda: _decoder({"a": (8, 8, 3)}, blocks=3), r"`model.deter` must be .* \(3\), got 8"),
        (lambda: build(Encoder, {"a": (1, 2, 3, 4)}, ModelConfig(), dtype=FLOAT32), "at most 3"),
        (lambda: build(Encoder, {}, ModelConfig(), dtype=FLOAT32), "at least one observation"),
    ],
)
def test_sizes_that_do_not_fit_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Together with vectors


SMALL = dataclasses.replace(
    ModelConfig(size="1m", deter=16, units=8, classes=4, stoch=3, blocks=4),
    depth=2,
    multipliers=(1, 4),
)
SHAPES = {"camera": (8, 8, 3), "speed": (2,), "height": ()}


def test_the_embedding_holds_vectors_then_images():
    encoder = build(Encoder, SHAPES, SMALL, dtype=FLOAT32)
    observation = {name: jnp.asarray(RNG.integers(9, size=s)) for name, s in SHAPES.items()}
    assert encoder.vectors is not None
    assert encoder.images is not None
    expected = [encoder.vectors(observation), encoder.images(observation)]
    np.testing.assert_array_equal(encoder(observation), jnp.concatenate(expected))
    assert encoder.embed_size == 8 + 2 * 2 * 8


def test_errors_of_pixels_are_summed():
    decoder, latent = build(Decoder, SHAPES, SMALL), _latent(16)._replace(stoch=_image(3, 4))
    observation = {name: RNG.integers(256, size=s).astype(np.uint8) for name, s in SHAPES.items()}
    losses = decoder.losses(latent, {k: jnp.asarray(v) for k, v in observation.items()})
    predictions = {k: np.asarray(v, np.float64) for k, v in decoder(latent).items()}
    assert set(losses) == set(SHAPES)
    expected = np.sum((predictions["camera"] - observation["camera"] / 255) ** 2)
    np.testing.assert_allclose(losses["camera"], expected, rtol=1e-5)
    expected = np.sum((predictions["speed"] - np.log1p(observation["speed"].astype(float))) ** 2)
    np.testing.assert_allclose(losses["speed"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "depth", "channels"), [("1m", 4, (8, 12, 16, 16)), ("200m", 64, (128, 192, 256, 256))]
)
def test_channels_follow_the_size(size, depth, channels):
    config = ModelConfig(size=size)
    assert (config.dims.depth, config.channels) == (depth, channels)


def test_parameter_counts_of_walker_from_pixels_at_12m():
    shape = eqx.filter_eval_shape(
        Dreamer, ModelConfig(size="12m"), {"image": (64, 64, 3)}, 6, key=jax.random.key(0)
    )
    is_shape = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    counts = {
        name: sum(x.size for x in jax.tree.leaves(part, is_leaf=is_shape) if is_shape(x))
        for name, part in vars(shape).items()
    }
    assert counts == {
        "encoder": 220_416,
        "rssm": 5_979_648,
        "decoder": 1_272_003,
        "reward": 721_407,
        "cont": 656_129,
        "policy": 791_052,
        "value": 853_503,
    }
    assert sum(counts.values()) == 10_494_158
