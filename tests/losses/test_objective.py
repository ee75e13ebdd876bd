"""The composition of losses, scales and penalties."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import CONFIG, build, quick_jit, tiny_batch, tiny_model

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


UPDATE = 3000
"""Updates completed: the square root has halved the coefficients."""


@pytest.fixture(scope="module")
def evaluation():
    """The objective and the one without penalties, with the same key, and all gradients."""
    model, batch, norm = tiny_model(), tiny_batch(), ReturnNorm()
    slow_value = build(lambda key: model.value, seed=1)

    def losses(model):
        args = {"update": jnp.asarray(UPDATE, jnp.int32), "key": jr.key(0)}
        penalized = make_loss(CONFIG, slow_value, norm)(model, batch, **args)
        plain = dreamer_loss(CONFIG, slow_value, norm)(model, batch, **args)
        losses = penalized[1].losses
        means = jnp.stack([jnp.mean(losses[name]) for name in sorted(losses)])
        return means, (penalized, plain)

    jacobian, (penalized, plain) = quick_jit(jax.jacrev(losses, has_aux=True))(model)
    by_name = {
        name: jax.tree.map(lambda x, i=i: np.asarray(x[i]), _parts(jacobian))
        for i, name in enumerate(sorted(penalized[1].losses))
    }
    return penalized, plain, by_name


def _parts(model):
    parts = dict(vars(model))
    rssm = parts.pop("rssm")
    return {
        **parts,
        "core": rssm.core,
        "prior": (rssm.prior_mlp, rssm.prior_out),
        "posterior": (rssm.posterior_mlp, rssm.posterior_out),
    }


def _weighted(losses, scales):
    return sum(scales[name] * np.mean(np.asarray(losses[name], np.float64)) for name in scales)


def test_the_loss_is_the_sum_of_scales_times_means(evaluation):
    _, (loss, output), _ = evaluation
    assert output.losses.keys() == SCALES.keys()
    np.testing.assert_allclose(loss, _weighted(output.losses, SCALES), rtol=1e-5)


def test_penalties_add_their_coefficients_times_means(evaluation):
    (loss, output), _, _ = evaluation
    scales = SCALES | {"gp_post": 0.25, "gp_prior": 0.125}
    assert output.losses.keys() == scales.keys()
    np.testing.assert_allclose(loss, _weighted(output.losses, scales), rtol=1e-5)
    penalties = {name: scales[name] for name in ("gp_post", "gp_prior")}
    assert _weighted(output.losses, penalties) > 1e-4 * loss  # above the tolerance
    for name, coefficient in penalties.items():
        np.testing.assert_allclose(output.metrics[f"{name}_lam"], coefficient, rtol=1e-6)


def test_penalties_leave_all_else_bitwise_as_it_was(evaluation):
    (_, penalized), (_, plain), _ = evaluation
    for name in SCALES:
        np.testing.assert_array_equal(penalized.losses[name], plain.losses[name])
    jax.tree.map(np.testing.assert_array_equal, penalized.rollout, plain.rollout)
    jax.tree.map(np.testing.assert_array_equal, penalized.return_norm, plain.return_norm)
    for name, value in plain.metrics.items():
        np.testing.assert_array_equal(penalized.metrics[name], value)


def test_metrics_of_losses_and_penalties(evaluation):
    (_, output), _, _ = evaluation
    for name, values in output.losses.items():
        np.testing.assert_allclose(output.metrics[f"loss/{name}"], np.mean(values), rtol=1e-5)
    for name in ("gp_post", "gp_prior"):
        # Three rows of every sampled state are summed or averaged.
        mean = output.metrics[name]
        np.testing.assert_allclose(output.metrics[f"{name}_total"], 3 * mean, rtol=1e-5)
        np.testing.assert_allclose(mean, np.mean(output.losses[name]), rtol=1e-5)
        assert output.metrics[f"{name}_row_std"] > 0


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("velocity", {"encoder", "core", "posterior", "decoder"}),
        ("height", {"encoder", "core", "posterior", "decoder"}),
        ("rew", {"encoder", "core", "posterior", "reward"}),
        ("con", {"encoder", "core", "posterior", "cont"}),
        # The prior's losses reach what shaped h_t through the recurrence.
        ("dyn", {"encoder", "core", "posterior", "prior"}),
        ("rep", {"encoder", "core", "posterior"}),
        # Imagined losses do not reach the world model, that of replayed values does.
        ("policy", {"policy"}),
        ("value", {"value"}),
        ("repval", {"encoder", "core", "posterior", "value"}),
        ("gp_post", {"encoder", "core", "posterior"}),
        ("gp_prior", {"encoder", "core", "posterior", "prior"}),
    ],
)
def test_parts_that_learn_from_each_loss(evaluation, name, parts):
    _, _, gradients = evaluation
    reached = {
        part
        for part, module in gradients[name].items()
        if any(np.any(x != 0) for x in jax.tree.leaves(module))
    }
    assert reached == parts


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
