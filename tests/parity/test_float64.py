"""How far one update is from float64, in float32 and in mixed precision."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from helpers import quick_jit

import gpld.losses.gpld
from gpld import agent
from gpld.models import BoundedNormal, OneHotCategorical

RECORDING = Path(__file__).parents[1] / "fixtures" / "proprio.npz"

# Largest errors relative to float64: of every loss, of the gradient as a whole, and of the
# gradient of every tensor, by norms. Measured: 1.3e-7, 3e-7, 1.2e-5 in float32; 1.2e-3, 6e-3 and
# 0.2 mixed, where a factor of a product is right to 0.4 %. The 0.2 are the last biases of policy
# and value, small sums of large terms that cancel; half of all tensors are below 6e-3.
BOUNDS = {"float32": (1e-6, 2e-6, 1e-4), "mixed": (5e-3, 1.5e-2, 0.4)}


def _update(precision, dtype):
    """Losses and gradients of a recorded update without a choice that rounding could turn."""
    recording = reference.load(RECORDING)
    config = dataclasses.replace(recording.config, precision=precision)
    cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        # A sampled class is either right or wrong: probabilities take their place.
        patch.setattr(OneHotCategorical, "sample", lambda dist, key: dist.probs)
        patch.setattr(BoundedNormal, "sample", lambda dist, key: dist.mean + 0.3 * dist.std)
        states, probes = recording.updates[0].states, recording.updates[0].probes
        draws = {name: jnp.asarray(probe[:, None], dtype) for name, probe in probes.items()}
        patch.setattr(gpld.losses.gpld, "draw_states", lambda *_: jnp.asarray(states))
        patch.setattr(gpld.losses.gpld, "draw_state_probes", lambda *args: draws[args[-1]])
        choices = agent.choices(config)._replace(dtype=jnp.dtype(dtype).name)
        patch.setattr(agent, "choices", lambda _: choices)
        inputs = (recording.initial_state(), recording.updates[0].batch)
        state, batch = jax.tree.map(cast, inputs)
        compute = lambda state, batch: agent.loss_and_grads(  # noqa: E731
            state, batch, config=config, key=jax.random.key(0)
        )
        (_, output), grads = quick_jit(compute)(state, batch)
    losses = {name: np.mean(np.asarray(x, np.float64)) for name, x in output.losses.items()}
    return losses, jax.tree.map(lambda x: np.asarray(x, np.float64), jax.tree.leaves(grads))


@pytest.fixture(scope="module")
def exact():
    with jax.enable_x64(True):
        return _update("float32", jnp.float64)


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
def test_updates_are_close_to_float64(precision, exact):
    losses, grads = _update(precision, jnp.float32)
    loss_bound, total_bound, tensor_bound = BOUNDS[precision]
    for name, expected in exact[0].items():
        assert abs(losses[name] - expected) < loss_bound * abs(expected), name
    errors, norms = [], []
    for actual, expected in zip(grads, exact[1], strict=True):
        errors.append(np.linalg.norm(actual - expected))
        norms.append(np.linalg.norm(expected))
        assert errors[-1] < tensor_bound * norms[-1] + 1e-12
    assert np.linalg.norm(errors) < total_bound * np.linalg.norm(norms)
