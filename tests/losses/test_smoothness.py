"""The smoothness report against Jacobians formed in full."""

import dataclasses
import zlib

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import CONFIG, quick_jit, tiny_batch, tiny_model

from gpld.config import GPLDConfig
from gpld.losses import observe, posterior_penalty, smoothness_report, spectral_norm

pytestmark = pytest.mark.slow

UPDATE = jnp.asarray(3000, jnp.int32)


@pytest.mark.usefixtures("x64")
def test_spectral_norm_of_linear_maps(getkey):
    matrix = np.random.default_rng(0).normal(size=(6, 5))
    expected = np.linalg.norm(matrix, 2)
    ratio = np.square(np.linalg.svd(matrix)[1][1] / expected)

    def norm(num_iterations, key):
        # Two inputs, one of them a table: the norm is that of the whole Jacobian.
        fn = lambda x, y: jnp.asarray(matrix) @ jnp.concatenate([x, y[0]])  # noqa: E731
        inputs = (jnp.zeros(2), jnp.zeros((1, 3)))
        return spectral_norm(fn, inputs, num_iterations=num_iterations, key=key)

    few, many = jax.jit(lambda key: (norm(2, key), norm(200, key)))(getkey())
    assert few < expected
    np.testing.assert_allclose(many, expected, rtol=max(1e-12, ratio**200))


def test_a_constant_map_has_norm_zero(getkey):
    fn = lambda x: jnp.ones(3) + 0 * jnp.sum(x)  # noqa: E731
    assert spectral_norm(fn, (jnp.ones(2),), num_iterations=4, key=getkey()) == 0


@pytest.fixture(scope="module")
def reports():
    """Reports of a batch that is looked at in full, with the penalties on and off."""
    model, batch = tiny_model(), tiny_batch()
    off = dataclasses.replace(CONFIG, gpld=GPLDConfig(lambda0=0.0))

    def run(config):
        return smoothness_report(model, batch, update=UPDATE, config=config, key=jr.key(0))

    return model, batch, quick_jit(lambda: (run(CONFIG), run(off)))()


def test_norms_of_all_states(reports):
    model, batch, (report, _) = reports
    rssm = model.rssm

    @jax.jit
    def jacobians():
        # The same draws of the posterior's states.
        key = jr.split(jr.key(0), 4)[0]
        rollout = observe(model, batch, key=key)
        flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
        deter, embed = flat(rollout.latent.deter), flat(rollout.embed)
        by_posterior = jax.vmap(jax.jacrev(rssm.posterior_probs, (0, 1)))(deter, embed)
        by_prior = jax.vmap(jax.jacrev(rssm.prior_probs))(deter)
        return {"gp_post": jnp.concatenate(by_posterior, axis=-1), "gp_prior": by_prior}

    for name, jacobian in jacobians().items():
        states, rows, classes, size = jacobian.shape
        matrices = np.asarray(jacobian, np.float64).reshape(states, rows * classes, size)
        frobenius = np.square(matrices).sum(axis=(1, 2)) / rows
        np.testing.assert_allclose(report[f"{name}/exact"], frobenius.mean(), rtol=1e-4)
        spectral = np.linalg.norm(matrices, 2, axis=(1, 2)).mean()
        np.testing.assert_allclose(report[f"{name}/spectral_norm"], spectral, rtol=0.02)
        assert report[f"{name}/spectral_norm"] < spectral * (1 + 1e-5)
        # Var(mean over rows of e^T A_i e), with A_i = J_i J_i^T.
        gram = np.einsum("nrcd,nred->nrce", jacobian, jacobian)
        off = gram - gram * np.eye(classes)
        variance = 2 * np.square(off).sum(axis=(1, 2, 3)) / rows**2
        expected = np.sqrt(variance.mean()) / frobenius.mean()
        # 8 states with 32 draws: 248 degrees of freedom, standard error below 10 %.
        np.testing.assert_allclose(report[f"{name}/estimator_std"], expected, rtol=0.5)


def test_gradient_of_the_penalties_alone(reports):
    model, batch, (report, off) = reports
    assert "grad_norm" not in off
    np.testing.assert_array_equal(off["gp_post/exact"], report["gp_post/exact"])
    config = dataclasses.replace(CONFIG.gpld, target="posterior")

    def loss(model):
        key = jr.split(jr.key(0), 4)[0]
        rollout = observe(model, batch, key=key)
        penalty = posterior_penalty(config)
        key = jr.fold_in(key, zlib.crc32(b"penalty"))
        # The square root has halved the coefficient of 0.5 after 3,000 updates.
        return 0.25 * jnp.mean(penalty(model, batch, rollout, name="gp_post", key=key).loss)

    only = dataclasses.replace(CONFIG, gpld=config)

    @eqx.filter_jit
    def run(model):
        report = smoothness_report(model, batch, update=UPDATE, config=only, key=jr.key(0))
        return report["grad_norm"], eqx.filter_grad(loss)(model)

    actual, grads = run(model)
    expected = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(grads)))
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
