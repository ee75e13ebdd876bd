"""The whole agent against recorded updates of the published implementation.

Tolerances are those of fixtures/README.md: two runs of the reference on different hardware
agree to about 1e-5 relative.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import gpld.losses.gpld
from gpld import agent
from gpld.losses import imagine
from gpld.models import BoundedNormal, Categorical, Latent, OneHotCategorical

LOSS_RTOL = 2e-4
NORM_RTOL = 1e-3


@pytest.fixture(scope="module", params=["gram", pytest.param("literal", marks=pytest.mark.slow)])
def updates(recording_path, request):
    """Pairs of what every update of a recording gives here and what it gave there.

    By both paths of the penalty.

    Sampling is replaced by the recorded draws or by the reference's deterministic choices;
    everything else is the code that trains.
    """
    recording = reference.load(recording_path, path=request.param)
    run = eqx.filter_jit(lambda *args: _run(recording, *args))  # compiles once
    state, results = recording.initial_state(), []
    for update in recording.updates:
        draws = jax.tree.map(jnp.asarray, (update.states, update.probes))
        outputs, state = run(state, update.batch, *draws)
        results.append((outputs, update.expected))
    return results


def _run(recording, state, batch, states, probes):
    """One update with given draws, and all that the reference recorded of it."""
    config, key = recording.config, jax.random.key(1)
    captured = {}

    def capture(*args, **kwargs):
        captured["result"] = loss_and_grads(*args, **kwargs)
        return captured["result"]

    def policy_sample(dist, key):
        return dist.mean + recording.policy_offset * dist.std

    loss_and_grads = agent.loss_and_grads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OneHotCategorical, "sample", lambda dist, key: dist.mode())
        patch.setattr(BoundedNormal, "sample", policy_sample)
        patch.setattr(Categorical, "sample", lambda dist, key: dist.mode())
        patch.setattr(gpld.losses.gpld, "draw_states", lambda *_: states)
        # One probe per row: an axis between states and rows.
        patch.setattr(
            gpld.losses.gpld, "draw_state_probes", lambda *args: probes[args[-1]][:, None]
        )
        patch.setattr(agent, "loss_and_grads", capture)
        new_state, latents, metrics = agent.update(state, batch, config=config, key=key)
        (loss, output), grads = captured["result"]
        rssm, rollout = state.model.rssm, output.rollout
        starts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollout.latent)
        imagined = jax.vmap(
            lambda s: imagine(state.model, state.slow_value, s, config.ac.imag_length, key=key)
        )(starts)
    feat = jnp.concatenate([imagined.feat[:, 1:], imagined.last[:, None]], axis=1)
    deter, stoch = jnp.split(feat, [rssm.deter], axis=-1)
    later = Latent(deter, stoch.reshape(*stoch.shape[:2], rssm.stoch, rssm.classes))
    restored = jax.vmap(jax.vmap(rssm.restore))(latents)
    outputs = {
        "loss": loss,
        "tokens": rollout.embed,
        "feat/deter": restored.deter,
        "feat/stoch": restored.stoch,
        "feat/logit": rollout.posterior_logits,
        "prior_logit": jax.vmap(jax.vmap(rssm.prior_logits))(rollout.latent.deter),
        "imag/deter": later.deter,
        "imag/stoch": later.stoch,
        "imag/logit": jax.vmap(jax.vmap(rssm.prior_logits))(later.deter),
        "imag/action": imagined.action,
        "state/retnorm/lo/value": output.return_norm.low,
        "state/retnorm/hi/value": output.return_norm.high,
    }
    named = {
        "losses": output.losses,
        "metrics": metrics,
        "grads": reference.named_parameters(grads),
        "params": reference.state_parameters(new_state),
    }
    for group, values in named.items():
        outputs |= {f"{group}/{name}": value for name, value in values.items()}
    return outputs, new_state


# What the reference records beside its results, under other definitions or names.
_NOT_COMPARED = {
    "metrics/opt/updates",
    "metrics/opt/grad_rms",
    "metrics/opt/update_rms",
    "metrics/opt/param_rms",
    "metrics/opt/param_count",
    "params/slowval_count/value",
}
for _name in ("gp_post", "gp_prior"):
    _NOT_COMPARED |= {f"metrics/{_name}_row_mean", f"metrics/{_name}_rows_used"}


def _pairs(updates, *prefixes):
    """Results and expectations under some prefixes; every recorded name must exist."""
    pairs = [
        (f"update {i}: {name}", np.asarray(outputs[name]), expected)
        for i, (outputs, recorded) in enumerate(updates)
        for name, expected in recorded.items()
        if name.startswith(prefixes) and name not in _NOT_COMPARED
    ]
    assert all(actual.shape == expected.shape for _, actual, expected in pairs)
    return pairs


def _assert_close(pairs, rtol):
    """Elementwise, relative to each number or to the mean magnitude of its array."""
    assert pairs
    for name, actual, expected in pairs:
        atol = rtol * np.mean(np.abs(expected))
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=name)


def _assert_norm_close(pairs, rtol):
    assert pairs
    for name, actual, expected in pairs:
        error = np.linalg.norm(actual - expected)
        assert error <= rtol * np.linalg.norm(expected), (name, error)


def test_every_recorded_quantity_is_compared(updates):
    prefixes = ("loss", "losses/", "metrics/", "grads/", "params/", "state/", "tokens")
    prefixes += ("feat/", "prior_logit", "imag/")
    for outputs, recorded in updates:
        known = {name for name in recorded if name.startswith(prefixes)}
        assert known == set(recorded)
        assert known - _NOT_COMPARED <= set(outputs)


def test_rollouts(updates):
    # Posterior and imagined; only one of the two layouts records the latter.
    _assert_close(_pairs(updates, "tokens", "feat/", "prior_logit", "imag/"), LOSS_RTOL)


def test_losses(updates):
    _assert_close(_pairs(updates, "loss"), LOSS_RTOL)


def test_metrics(updates):
    _assert_close(_pairs(updates, "metrics/", "state/"), LOSS_RTOL)


def test_gradients(updates):
    _assert_norm_close(_pairs(updates, "grads/"), NORM_RTOL)


def test_updated_parameters(updates):
    _assert_norm_close(_pairs(updates, "params/"), NORM_RTOL)


def test_parameter_changes(updates, recording_path):
    """The change itself, far smaller than the parameters, agrees as well."""
    initial = reference.load(recording_path).params
    for name, actual, expected in _pairs(updates, "params/"):
        before = initial[name.partition("params/")[2]]
        error = np.linalg.norm(actual - expected)
        rounding = 1e-6 * np.linalg.norm(before)  # the parameters are float32
        assert error <= 1e-2 * np.linalg.norm(expected - before) + rounding, name
