"""The composition of losses, scales and penalties."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import CONFIG, Evaluation, evaluation, tiny_batch, tiny_model

from gpld.config import GPLDConfig, LossConfig
from gpld.losses import ReturnNorm, dreamer_loss, make_loss
from gpld.losses.objective import loss_scales

SCALES = {
    "velocity": 0.9,
    "height": 0.9,
    "rew": 0.8,
    "con": 0.7,
    "dyn": 0.6,
    "rep": 0.5,
    "policy": 0.4,
    "value": 0.2,
    "repval": 0.3,
}


def _weighted(losses, scales):
    return sum(scales[name] * np.mean(np.asarray(losses[name], np.float64)) for name in scales)


def test_the_loss_is_the_sum_of_scales_times_means():
    losses = evaluation().dreamer_output.losses
    assert losses.keys() == SCALES.keys()
    np.testing.assert_allclose(evaluation().dreamer_loss, _weighted(losses, SCALES), rtol=1e-5)


def test_penalties_add_their_coefficients_times_means():
    # After 3000 updates the square root has halved the coefficients.
    assert Evaluation.UPDATE == 3000
    scales = SCALES | {"gp_post": 0.25, "gp_prior": 0.125}
    losses, metrics = evaluation().output.losses, evaluation().output.metrics
    assert losses.keys() == scales.keys()
    np.testing.assert_allclose(evaluation().loss, _weighted(losses, scales), rtol=1e-5)
    difference = _weighted(losses, {k: scales[k] for k in ("gp_post", "gp_prior")})
    assert difference > 0.01
    np.testing.assert_allclose(metrics["gp_post_lam"], 0.25, rtol=1e-6)
    np.testing.assert_allclose(metrics["gp_prior_lam"], 0.125, rtol=1e-6)


def test_penalties_leave_all_else_bitwise_as_it_was():
    plain, penalized = evaluation().dreamer_output, evaluation().output
    for name in SCALES:
        np.testing.assert_array_equal(penalized.losses[name], plain.losses[name])
    jax.tree.map(np.testing.assert_array_equal, penalized.rollout, plain.rollout)
    jax.tree.map(np.testing.assert_array_equal, penalized.return_norm, plain.return_norm)
    for name, value in plain.metrics.items():
        np.testing.assert_array_equal(penalized.metrics[name], value)


def test_metrics_of_losses_and_penalties():
    output = evaluation().output
    for name, values in output.losses.items():
        np.testing.assert_allclose(output.metrics[f"loss/{name}"], np.mean(values), rtol=1e-5)
    for name in ("gp_post", "gp_prior"):
        # Three rows of every sampled state are summed or averaged.
        mean = output.metrics[name]
        np.testing.assert_allclose(output.metrics[f"{name}_total"], 3 * mean, rtol=1e-5)
        np.testing.assert_allclose(mean, np.mean(output.losses[name]), rtol=1e-5)
        assert output.metrics[f"{name}_row_std"] > 0


def _lowered(loss):
    """The program of the loss and its gradient, before it is compiled."""
    args = {"update": jnp.zeros((), jnp.int32), "key": jr.key(0)}
    value_and_grad = jax.value_and_grad(lambda model: loss(model, tiny_batch(), **args)[0])
    return jax.jit(value_and_grad).lower(tiny_model()).as_text()


def test_coefficient_zero_is_the_baseline_itself():
    """The same program, hence bitwise the same losses and gradients."""
    off = dataclasses.replace(CONFIG, gpld=GPLDConfig(lambda0=0.0, target="both"))
    args = (tiny_model().value, ReturnNorm())
    baseline = _lowered(dreamer_loss(CONFIG, *args))
    assert len(baseline) > 1000
    assert _lowered(make_loss(off, *args)) == baseline


def test_the_batch_reduction_is_diluted_in_the_loss_and_not_in_the_metric():
    gpld = dataclasses.replace(CONFIG.gpld, reduction="batch", rho=0.5, target="prior")
    config = dataclasses.replace(CONFIG, gpld=gpld)
    loss = make_loss(config, tiny_model().value, ReturnNorm())
    args = {"update": jnp.zeros((), jnp.int32), "key": jr.key(0)}
    shapes = jax.eval_shape(lambda m: loss(m, tiny_batch(), **args), tiny_model())[1]
    assert shapes.losses["gp_prior"].shape == (2, 4)
    assert "gp_post" not in shapes.losses


def test_scales_and_losses_must_have_the_same_names():
    # An observation that the model was not made for.
    batch = tiny_batch()
    extra = batch.observation | {"extra": batch.reward}
    loss = dreamer_loss(CONFIG, tiny_model().value, ReturnNorm())
    args = {"update": jnp.zeros((), jnp.int32), "key": jr.key(0)}
    with pytest.raises(ValueError, match="must have the same names"):
        jax.eval_shape(lambda m: loss(m, batch._replace(observation=extra), **args), tiny_model())


def test_default_scales():
    scales = loss_scales(LossConfig(), ["a", "b"])
    expected = dict.fromkeys(("a", "b", "rew", "con", "dyn", "policy", "value"), 1.0)
    assert scales == expected | {"rep": 0.1, "repval": 0.3}
    assert loss_scales(CONFIG.loss, ["velocity", "height"]) == SCALES
