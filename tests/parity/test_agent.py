"""The whole agent against recorded updates of the published implementation."""

import numpy as np
import pytest
import reference


@pytest.fixture(
    scope="module", params=["gram", pytest.param("literal", marks=pytest.mark.exhaustive)]
)
def updates(recording_path, request):
    """Pairs of what every update of a recording gives here and what it gave there.

    By the path of the penalty that runs take, and in exhaustive tests by the literal one;
    `losses/test_gram_penalty.py` compares the two.
    """
    return reference.run(reference.load(recording_path, path=request.param))


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
        assert known - reference.NOT_COMPARED <= set(outputs)


def test_rollouts(updates):
    # Posterior and imagined; only one of the two layouts records the latter.
    _assert_close(
        reference.pairs(updates, "tokens", "feat/", "prior_logit", "imag/"), reference.LOSS_RTOL
    )


def test_losses(updates):
    _assert_close(reference.pairs(updates, "loss"), reference.LOSS_RTOL)


def test_metrics(updates):
    _assert_close(reference.pairs(updates, "metrics/", "state/"), reference.LOSS_RTOL)


def test_gradients(updates):
    _assert_norm_close(reference.pairs(updates, "grads/"), reference.NORM_RTOL)


def test_updated_parameters(updates):
    _assert_norm_close(reference.pairs(updates, "params/"), reference.NORM_RTOL)


def test_parameter_changes(updates, recording_path):
    """The change itself, far smaller than the parameters, agrees as well."""
    initial = reference.load(recording_path).params
    for name, actual, expected in reference.pairs(updates, "params/"):
        before = initial[name.partition("params/")[2]]
        error = np.linalg.norm(actual - expected)
        rounding = 1e-6 * np.linalg.norm(before)  # the parameters are float32
        assert error <= 1e-2 * np.linalg.norm(expected - before) + rounding, name
