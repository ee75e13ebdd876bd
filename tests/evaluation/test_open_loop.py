"""Predictions of stored sequences, of which the model sees the beginning."""

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
    build,
    discrete_batch,
    discrete_model,
    quick_jit,
    tiny_batch,
    tiny_model,
)

from gpld.evaluation.open_loop import predict_open_loop
from gpld.losses import observe
from gpld.models import Dreamer, symexp
from gpld.runs.folder import RunFolder
from gpld.training.pictures import Pictures

SEEN = 2


@pytest.fixture(scope="module")
def model():
    config = dataclasses.replace(CONFIG.model, depth=2, multipliers=(1, 4))
    shapes = {**SHAPES, "image": (8, 8, 3)}
    model = build(Dreamer, config, shapes, ACTION_SIZE, dtype=jnp.dtype("float32"))
    # So that posteriors differ where observations do.
    return eqx.tree_at(lambda m: m.rssm.posterior_out.kernel, model, replace_fn=lambda k: 20 * k)


def _batch():
    batch = tiny_batch()
    image = np.random.default_rng(1).integers(256, size=(2, 4, 8, 8, 3)).astype(np.uint8)
    return batch._replace(observation={**batch.observation, "image": jnp.asarray(image)})


@pytest.fixture(scope="module")
def predict(model):
    program = quick_jit(lambda batch: predict_open_loop(model, batch, SEEN, key=jr.key(0)))
    return lambda batch: jax.tree.map(np.asarray, program(batch))


def test_predictions_have_the_shapes_and_units_of_observations(predict):
    predicted = predict(_batch())
    assert {name: x.shape for name, x in predicted.items()} == {
        "velocity": (2, 4, 2),
        "height": (2, 4),
        "image": (2, 4, 8, 8, 3),
    }
    assert np.all((predicted["image"] >= 0) & (predicted["image"] <= 1))


def test_what_is_seen_is_reconstructed(model, predict):
    batch, (key, _) = _batch(), jr.split(jr.key(0))
    seen = {k: jax.tree.map(lambda x: x[:, :SEEN], v) for k, v in batch._asdict().items()}
    seen = batch._replace(**{**seen, "context": batch.context})
    latents = quick_jit(lambda batch: observe(model, batch, key=key))(seen).latent
    expected = jax.vmap(jax.vmap(model.decoder))(latents)
    predicted = predict(batch)
    for name in SHAPES:
        np.testing.assert_allclose(
            predicted[name][:, :SEEN], symexp(expected[name]), rtol=1e-3, atol=1e-4
        )
    np.testing.assert_allclose(predicted["image"][:, :SEEN], expected["image"], atol=1e-4)


def test_the_rest_follows_from_actions_alone(predict):
    batch = _batch()
    before = predict(batch)
    observation = {name: x.at[:, SEEN:].set(7) for name, x in batch.observation.items()}
    hidden = predict(batch._replace(observation=observation))
    jax.tree.map(np.testing.assert_array_equal, hidden, before)

    other = predict(batch._replace(prev_action=batch.prev_action.at[:, SEEN + 1 :].add(0.5)))
    for name, x in before.items():
        np.testing.assert_array_equal(other[name][:, : SEEN + 1], x[:, : SEEN + 1])
        assert np.any(other[name][:, SEEN + 1 :] != x[:, SEEN + 1 :])


def test_the_beginning_decides_how_it_goes_on(predict):
    batch = _batch()
    observation = {name: x.at[:, :SEEN].add(100) for name, x in batch.observation.items()}
    other = predict(batch._replace(observation=observation))
    assert np.any(other["image"][:, SEEN:] != predict(batch)["image"][:, SEEN:])


def test_classes_are_predicted_from_numbers_of_actions():
    model, batch = discrete_model(), discrete_batch()
    program = quick_jit(lambda batch: predict_open_loop(model, batch, SEEN, key=jr.key(0)))
    predicted = program(batch)
    assert {name: x.shape[2:] for name, x in predicted.items()} == DISCRETE_SHAPES
    for name, classes in NUM_CLASSES.items():
        assert predicted[name].dtype == jnp.int32
        assert np.all((predicted[name] >= 0) & (predicted[name] < classes))
    actions = batch.prev_action.at[:, SEEN + 1 :].add(1) % NUM_ACTIONS
    other = program(batch._replace(prev_action=actions))
    same = predicted["velocity"] == other["velocity"]
    assert np.all(same[:, : SEEN + 1])
    assert not np.any(same[:, SEEN + 1 :])


@pytest.mark.parametrize("blocked", [False, True])
def test_a_run_goes_on_with_or_without_pictures(tmp_path, blocked):
    said = []
    pictures = Pictures(CONFIG, RunFolder(tmp_path), said.append)
    if blocked:
        (tmp_path / "predictions").write_text("in the way")
    for env_step in (7, 8):
        discrete = env_step == 8
        model, batch = discrete_model(), discrete_batch()
        pictures.predictions(
            *(model, batch) if discrete else (tiny_model(), tiny_batch()), env_step
        )
    names = ["000000007-vectors.png", "000000008-vectors.png"]
    if blocked:
        [line] = said
        assert line.startswith("no pictures of predictions: Cannot make")
    else:
        assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == names
        assert [line.endswith(name) for line, name in zip(said, names, strict=True)] == [True] * 2
