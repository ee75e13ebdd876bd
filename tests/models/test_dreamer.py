"""Encoder, decoder, heads and the whole model."""

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
    SHAPES,
    build,
    discrete_batch,
    discrete_model,
    tiny_model,
)

import gpld.models.layers
from gpld import agent
from gpld.config import ModelConfig
from gpld.models import (
    ContinueHead,
    ContinuousPolicy,
    Decoder,
    DiscretePolicy,
    Dreamer,
    Latent,
    TwoHotHead,
    VectorDecoder,
    VectorEncoder,
    apply_heads,
    first_layers,
    parameter_counts,
    split_shapes,
)

FLOAT32 = jnp.dtype("float32")


def _symlog(x):
    return np.sign(x) * np.log1p(np.abs(x))


# Encoder


def test_encoder_reads_flattened_symlogs_in_sorted_key_order():
    shapes = {"b": (2, 3), "c": (1,), "a": (), "B": (2,)}  # capitals sort first
    encoder = build(VectorEncoder, shapes, units=8, num_layers=3, dtype=FLOAT32)
    rng = np.random.default_rng(0)
    values = {k: np.asarray(30 * rng.normal(size=s), np.float32) for k, s in shapes.items()}
    values["c"] = np.array([7], np.int32)
    order = ("B", "a", "b", "c")
    flat = np.concatenate([np.ravel(_symlog(values[k].astype(np.float64))) for k in order])
    actual = eqx.filter_jit(encoder)({k: jnp.asarray(v) for k, v in values.items()})
    expected = eqx.filter_jit(encoder.mlp)(jnp.asarray(flat, jnp.float32))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert encoder.embed_size == 8
    assert len(encoder.mlp.layers) == 3


def test_encoder_reads_one_hot_vectors_of_classes_in_the_same_order():
    shapes = {"b": (2,), "a": (2, 2), "c": ()}
    classes = {"a": 3, "c": 5}
    encoder = build(
        VectorEncoder, shapes, units=8, num_layers=1, dtype=FLOAT32, num_classes=classes
    )
    values = {"b": np.float32([9, -9]), "a": np.int32([[2, 0], [1, 1]]), "c": np.asarray(4)}
    flat = np.concatenate([np.eye(3)[[2, 0, 1, 1]].ravel(), _symlog(values["b"]), np.eye(5)[4]])
    expected = encoder.mlp(jnp.asarray(flat, jnp.float32))
    np.testing.assert_allclose(encoder(jax.tree.map(jnp.asarray, values)), expected, rtol=1e-5)


def test_classes_are_vectors_however_many_axes_they_have():
    shapes = {"image": (8, 8, 3), "board": (3, 3, 2), "deep": (2, 2, 2, 2), "x": (4,)}
    vectors, images = split_shapes(shapes, {"board": 5, "deep": 2})
    assert list(images) == ["image"]
    assert list(vectors) == ["board", "deep", "x"]
    with pytest.raises(ValueError, match="must have at most 3 axes, deep has"):
        split_shapes(shapes)


def test_encoder_takes_symlog_before_it_casts():
    encoder = build(VectorEncoder, {"x": (64,)}, units=8, num_layers=1, dtype=jnp.dtype("bfloat16"))
    # In steps finer than bfloat16's, which symlog brings closer together.
    x = np.linspace(8, 9, 64, dtype=np.float32)
    right = _symlog(x).astype(jnp.bfloat16)
    wrong = _symlog(x.astype(jnp.bfloat16).astype(np.float32)).astype(jnp.bfloat16)
    assert np.any(right != wrong)
    embed = encoder({"x": jnp.asarray(x)})
    assert embed.dtype == jnp.bfloat16
    np.testing.assert_array_equal(embed, encoder.mlp(jnp.asarray(right)))
    assert np.any(np.asarray(embed) != np.asarray(encoder.mlp(jnp.asarray(wrong))))


# Decoder


@pytest.fixture(scope="module")
def decoder():
    return build(VectorDecoder, {"b": (2, 3), "a": ()}, 10, units=8, num_layers=3)


def _latent():
    rng = np.random.default_rng(0)
    return Latent(
        jnp.asarray(rng.normal(size=4), jnp.float32),
        jnp.asarray(rng.normal(size=(2, 3)), jnp.float32),
    )


def test_decoder_reads_stoch_before_deter(decoder):
    latent = _latent()
    x = decoder.mlp(jnp.concatenate([latent.stoch.reshape(-1), latent.deter]))
    predictions = decoder(latent)
    assert list(predictions) == ["a", "b"]
    np.testing.assert_allclose(predictions["a"], decoder.outputs["a"](x)[0], rtol=1e-5)
    np.testing.assert_allclose(
        predictions["b"], decoder.outputs["b"](x).reshape(2, 3), rtol=1e-5, atol=1e-6
    )


def test_reconstruction_sums_squares_over_the_numbers_of_a_key():
    config = ModelConfig(deter=4, units=8, stoch=2, classes=3, blocks=1)
    decoder, latent = build(Decoder, {"b": (2, 3), "a": ()}, config), _latent()
    predictions = {k: np.asarray(v, np.float64) for k, v in decoder(latent).items()}
    target = {"a": np.float32(5.0), "b": np.arange(6, dtype=np.float32).reshape(2, 3)}
    losses = decoder.losses(latent, {k: jnp.asarray(v) for k, v in target.items()})
    for name, prediction in predictions.items():
        expected = np.sum((prediction - _symlog(target[name])) ** 2)
        np.testing.assert_allclose(losses[name], expected, rtol=1e-5)


# Heads at the start and in half precision


@pytest.fixture(scope="module")
def new_agent():
    rng = np.random.default_rng(0)

    def init(key, shape, scale=1.0):
        kernel = scale * rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        return jnp.asarray(kernel, jnp.float32)

    with pytest.MonkeyPatch.context() as patch:  # JAX's own takes ten seconds to compile
        patch.setattr(gpld.models.layers, "truncated_normal_init", init)
        return agent.init(CONFIG, SHAPES, ACTION_SIZE, key=jr.key(0))


@pytest.mark.parametrize("batch", [(), (7,), (2, 64)])
def test_first_predictions_of_reward_and_value_are_exactly_zero(new_agent, batch):
    feat = jnp.asarray(np.random.default_rng(0).normal(size=(*batch, 28)), jnp.float32)

    @jax.jit
    def predictions(feat):
        heads = (new_agent.model.reward, new_agent.model.value, new_agent.slow_value)
        return [head(feat).mean() for head in heads]

    for _ in batch:
        predictions = jax.vmap(predictions)
    for prediction in jax.jit(predictions)(feat):
        np.testing.assert_array_equal(prediction, np.zeros(batch))


def test_slow_value_starts_as_a_copy(new_agent):
    jax.tree.map(np.testing.assert_array_equal, new_agent.slow_value, new_agent.model.value)


def test_policy_starts_almost_uniform(new_agent):
    feat = jnp.asarray(np.random.default_rng(0).normal(size=28), jnp.float32)
    dist = new_agent.model.policy(feat)
    assert np.all(np.abs(dist.mean) < 0.1)
    np.testing.assert_allclose(dist.std, 0.8927, atol=0.01)
    # Not exactly, as a scale of 0 would give.
    assert np.all(np.asarray(dist.mean) != 0)


@pytest.mark.parametrize(
    ("head", "event"),
    [
        (lambda: build(TwoHotHead, 28, units=8, num_layers=1), lambda d: d.logits),
        (lambda: build(ContinueHead, 28, units=8, num_layers=1), lambda d: d.logit),
        (lambda: build(ContinuousPolicy, 28, 2, units=8, num_layers=1), lambda d: (d.mean, d.std)),
        (lambda: build(DiscretePolicy, 28, 2, units=8, num_layers=1), lambda d: d.logits),
    ],
)
def test_heads_give_float32_distributions_of_half_precision_features(head, event):
    feat = jax.ShapeDtypeStruct((28,), jnp.bfloat16)
    out = jax.tree.leaves(jax.eval_shape(lambda x: event(head()(x)), feat))
    assert all(x.dtype == jnp.float32 for x in out)


def test_discrete_policy_is_the_softmax_of_one_layer():
    policy = build(DiscretePolicy, 28, 3, units=8, num_layers=2)
    feat = jnp.asarray(np.random.default_rng(0).normal(size=28), jnp.float32)
    logits = policy.mlp(feat) @ policy.logits.kernel + policy.logits.bias
    np.testing.assert_allclose(policy(feat).logits, logits, rtol=1e-5)
    new = eqx.filter_jit(DiscretePolicy)(28, 3, units=8, num_layers=2, key=jr.key(0))
    assert 0 < np.abs(new(feat).logits).max() < 0.1  # a scale of 0.01, not of 0


def test_what_the_rssm_takes_of_actions():
    continuous = build(ContinuousPolicy, 28, 2, units=8, num_layers=1)
    discrete = build(DiscretePolicy, 28, 3, units=8, num_layers=1)
    assert (continuous.size, discrete.size) == (2, 3)
    actions = jnp.array([[0.5, -3.0]])
    np.testing.assert_array_equal(continuous.encode(actions), actions)
    encoded = discrete.encode(jnp.array([[2, 0]], jnp.int32))
    np.testing.assert_array_equal(encoded, [[[0, 0, 1], [1, 0, 0]]])
    assert encoded.dtype == jnp.float32
    for policy, shape, dtype in ((continuous, (2,), "float32"), (discrete, (), "int32")):
        zero = policy.zero()
        assert (zero.shape, zero.dtype, np.any(zero)) == (shape, dtype, False)


def test_randomness_of_a_discrete_policy_is_the_share_of_the_largest_entropy():
    policy = build(DiscretePolicy, 28, 4, units=8, num_layers=1)
    metrics = policy.metrics(jnp.float32(np.log(4) / 2))
    np.testing.assert_allclose(metrics["ent/action"], np.log(4) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["rand/action"], 0.5, rtol=1e-6)
    assert (
        build(DiscretePolicy, 28, 1, units=8, num_layers=1).metrics(jnp.zeros(()))["rand/action"]
        == 0
    )
    continuous = build(ContinuousPolicy, 28, 4, units=8, num_layers=1)
    assert continuous.metrics(jnp.ones(())) == {"ent/action": 1.0}


def test_classes_are_reconstructed_by_cross_entropy():
    model, batch = discrete_model(), discrete_batch()
    latent = model.rssm.restore(jax.tree.map(lambda x: x[0], batch.context))
    observation = {name: x[0, 0] for name, x in batch.observation.items()}
    predictions = model.decoder(latent)
    assert {name: x.shape for name, x in predictions.items()} == {
        "velocity": (2,),
        "height": (),
        "kind": (4,),
        "grid": (2, 2, 2),
    }
    losses = model.decoder.losses(latent, observation)
    for name in ("kind", "grid"):
        log_probs = np.log(np.asarray(jax.nn.softmax(predictions[name]), np.float64))
        chosen = np.take_along_axis(log_probs, np.asarray(observation[name])[..., None], -1)
        np.testing.assert_allclose(losses[name], -chosen.sum(), rtol=1e-5)
    seen = model.decoder.observation(latent)
    np.testing.assert_array_equal(seen["grid"], np.argmax(predictions["grid"], axis=-1))
    assert seen["kind"].dtype == jnp.int32
    np.testing.assert_allclose(_symlog(np.asarray(seen["velocity"])), predictions["velocity"], 1e-5)


# Sizes


def _counts(size, numbers, actions):
    shapes = {"velocity": (numbers - 15,), "height": (), "orientations": (14,)}
    model = build(Dreamer, ModelConfig(size=size), shapes, actions, dtype=FLOAT32)
    return parameter_counts(model)


def test_parameter_counts_of_walker_at_12m():
    counts = _counts("12m", 24, 6)
    assert counts == {
        "encoder": 138_752,
        "rssm": 5_783_040,
        "decoder": 794_136,
        "reward": 721_407,
        "cont": 656_129,
        "policy": 791_052,
        "value": 853_503,
    }
    assert sum(counts.values()) == 9_738_019


def test_parameter_counts_of_walker_at_1m():
    counts = _counts("1m", 24, 6)
    assert counts == {
        "encoder": 10_112,
        "rssm": 364_416,
        "decoder": 51_096,
        "reward": 57_663,
        "cont": 41_153,
        "policy": 50_316,
        "value": 66_111,
    }
    assert sum(counts.values()) == 640_867


def test_parameter_counts_of_another_task():
    # 256 encoder and 257 decoder weights per number, 256 of the core and 514 of the policy
    # per action.
    total = sum(_counts("12m", 19, 1).values())
    assert total == 9_738_019 + 513 * (19 - 24) + 770 * (1 - 6)


def test_sizes_given_by_themselves_override_the_preset():
    model = tiny_model()
    assert model.rssm.deter == 16
    assert (model.rssm.stoch, model.rssm.classes) == (3, 4)
    assert model.rssm.core.deter_in.linear.kernel.shape == (16, 8)
    assert model.value.mlp.layers[0].linear.kernel.shape == (16 + 3 * 4, 8)


def test_every_network_has_its_own_number_of_layers():
    names = ("encoder", "prior", "posterior", "decoder", "reward", "continue", "policy", "value")
    expected = {name: i for i, name in enumerate(names, start=1)}
    config = dataclasses.replace(CONFIG.model, **{f"{k}_layers": v for k, v in expected.items()})
    model = build(Dreamer, config, SHAPES, ACTION_SIZE, dtype=FLOAT32)
    parts = {
        "prior": model.rssm.prior_mlp,
        "posterior": model.rssm.posterior_mlp,
        "continue": model.cont.mlp,
        "encoder": model.encoder.vectors.mlp,
        "decoder": model.decoder.vectors.mlp,
        **{name: getattr(model, name).mlp for name in ("reward", "policy", "value")},
    }
    assert {name: len(mlp.layers) for name, mlp in parts.items()} == expected


@pytest.mark.parametrize("name", ["rew", "repval", "gp_post"])
def test_an_observation_may_not_be_named_like_a_loss(name):
    with pytest.raises(ValueError, match=f"rename {name}"):
        agent.init(CONFIG, {"x": (1,), name: (2,)}, ACTION_SIZE, key=jr.key(0))


def test_networks_compute_in_float32_by_default():
    model = eqx.filter_eval_shape(Dreamer, CONFIG.model, SHAPES, ACTION_SIZE, key=jr.key(0))
    assert model.encoder.vectors.dtype == model.rssm.dtype == np.float32


def test_heads_together_say_what_each_says_alone():
    model = tiny_model()
    feat = jnp.asarray(np.random.default_rng(0).normal(size=16 + 12), jnp.float32)
    heads = (model.policy, model.reward, model.cont, model.value)
    together = jax.jit(lambda feat: apply_heads(heads, feat))(feat)
    alone = jax.jit(lambda feat: tuple(head(feat) for head in heads))(feat)
    assert jax.tree.structure(together) == jax.tree.structure(alone)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_first_layers_that_were_kept_are_not_computed_again():
    model = tiny_model()
    heads = (model.policy, model.value)
    feat = jnp.asarray(np.random.default_rng(0).normal(size=16 + 12), jnp.float32)
    first = first_layers(heads, feat)

    def outputs(heads, feat, first=None):
        policy, value = apply_heads(heads, feat, first=first)
        return jnp.sum(jnp.sin(policy.mean)) + jnp.sum(policy.std) + value.loss(jnp.float32(3))

    by_heads, by_feat = eqx.filter_grad(lambda x, *rest: outputs(*x, *rest))((heads, feat))
    again, none = eqx.filter_grad(lambda x, *rest: outputs(*x, *rest))((heads, feat), first)
    assert outputs(heads, feat, first) == outputs(heads, feat)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(by_heads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    assert np.any(by_feat != 0)
    assert np.all(none == 0)  # nothing passes to the feature
    assert np.all(outputs(heads, feat, first + 1) != outputs(heads, feat))  # it is read


@pytest.mark.parametrize(
    ("backend", "form", "unroll"), [("cpu", "separate", 1), ("gpu", "batched", 5)]
)
def test_layers_take_the_forms_that_are_fast_on_the_device(backend, form, unroll, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    shapes = SHAPES | {"image": (16, 16, 3)}
    config = dataclasses.replace(CONFIG.model, depth=2, image_blocks=2)
    config = dataclasses.replace(CONFIG, model=config)
    make = lambda key: agent.init(config, shapes, ACTION_SIZE, key=key)  # noqa: E731
    model = eqx.filter_eval_shape(make, jr.key(0)).model
    core = model.rssm.core
    layers = (core, core.hidden, core.gates, model.decoder.images.deter_in)
    assert {layer.form for layer in layers} == {form}
    assert model.rssm.forms.unroll == unroll
    assert model.encoder.in_chunks == model.rssm.forms.row_by_row == (backend == "cpu")
