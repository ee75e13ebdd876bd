"""Smoothness of the latent distributions: numbers for the metrics, not for the loss."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..config import Config
from ..models import Dreamer, FactoredMap
from .batch import Batch
from .gpld import SITES, replayed_states
from .gradient_penalty import Inputs, TableFn
from .gram_penalty import gram_penalty
from .objective import LossOutput, with_penalties
from .returns import ReturnNorm
from .world_model import observe

NUM_STATES = 16
"""States of a batch that a report looks at."""

NUM_DRAWS = 32
"""Draws of the estimator at each of them."""

NUM_ITERATIONS = 20
"""Power iterations: the error falls by the squared ratio of the two largest singular values
with each."""


class Smoothness(NamedTuple):
    """Smoothness of one map at one state."""

    exact: Float[Array, "*states"]
    """Squared Frobenius norm of a row's Jacobian, mean over rows (paper, equation 5)."""

    spectral_norm: Float[Array, "*states"]
    """Largest singular value of the Jacobian of the whole table: how far the table moves,
    at most, for a step of length one of the inputs."""

    variance: Float[Array, "*states"]
    """Variance of one estimate of `exact`, by the run's estimator with its number of probes."""


def smoothness(
    fn: FactoredMap,
    inputs: Inputs,
    config: Config,
    *,
    row_by_row: bool = False,
    key: PRNGKeyArray,
) -> Smoothness:
    """Measure the smoothness of a map at one state.

    Args:
        fn: The map.
        inputs: Where its Jacobian is taken.
        config: Estimator and number of probes.
        row_by_row: Passed to `gram_penalty`.
        key: Random key.
    """
    estimator, num_probes = config.gpld.estimator, config.gpld.num_probes
    draws_key, start_key = jr.split(key)
    penalty = functools.partial(gram_penalty, fn, row_by_row=row_by_row)
    estimate = penalty(estimator=estimator, num_probes=num_probes)
    draws = jax.vmap(lambda key: jnp.mean(estimate(*inputs, key=key)))
    return Smoothness(
        exact=jnp.mean(penalty(estimator="exact")(*inputs)),
        spectral_norm=spectral_norm(fn, inputs, num_iterations=NUM_ITERATIONS, key=start_key),
        variance=jnp.var(draws(jr.split(draws_key, NUM_DRAWS)), ddof=1),
    )


def spectral_norm(
    fn: TableFn, inputs: Inputs, *, num_iterations: int, key: PRNGKeyArray
) -> Float[Array, ""]:
    """Compute the largest singular value of a function's Jacobian, by power iteration on `J^T J`.

    Args:
        fn: Map of one sample, from arrays to an array.
        inputs: Where the Jacobian is taken.
        num_iterations: Iterations, each a forward and a reverse pass. The result approaches
            the norm from below.
        key: Random key of the first direction.
    """
    leaves, treedef = jax.tree.flatten(inputs)
    keys = jr.split(key, len(leaves))
    normals = [jr.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    _, vjp = jax.vjp(fn, *inputs)

    def push(direction):
        return jax.jvp(fn, inputs, _normalised(direction))[1]

    direction = jax.lax.fori_loop(
        0, num_iterations, lambda _, x: vjp(push(x)), jax.tree.unflatten(treedef, normals)
    )
    return jnp.linalg.norm(push(direction))


def smoothness_report(
    model: Dreamer, batch: Batch, *, update: Int[Array, ""], config: Config, key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """Measure the smoothness of posterior and prior on a batch, and the pull of the penalties.

    Args:
        model: Networks.
        batch: Replayed sequences.
        update: Updates completed, which give the coefficients.
        config: Settings.
        key: Random key.

    Returns:
        By `{penalty}/{name}`, means over `NUM_STATES` states, or all if there are fewer:
        `exact`, `spectral_norm`, and `estimator_std`, the standard deviation of one
        estimate relative to `exact`. If a penalty is on, `grad_norm`: the norm of the
        gradient, by all parameters, of all coefficients times penalties.
    """
    loss_key, states_key, *keys = jr.split(key, 2 + len(SITES))

    def penalties_alone(model, batch, *, update, key):
        rollout = observe(model, batch, key=key)
        return jnp.zeros(()), LossOutput({}, rollout, ReturnNorm(), {})

    loss = eqx.filter_grad(with_penalties(penalties_alone, config), has_aux=True)
    grads, output = loss(model, batch, update=update, key=loss_key)
    num_states = min(NUM_STATES, batch.reward.size)
    chosen = jr.choice(states_key, batch.reward.size, (num_states,), replace=False)
    states = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:])[chosen], replayed_states(model, batch, output.rollout)
    )
    metrics = {"grad_norm": optax.tree.norm(grads)} if config.gpld.coefficients else {}
    for (name, site), site_key in zip(SITES.items(), keys, strict=True):

        def measure(state, key, site=site):
            fn, inputs = site(model, state)
            return smoothness(fn, inputs, config, row_by_row=model.rssm.forms.row_by_row, key=key)

        measured = jax.vmap(measure)(states, jr.split(site_key, num_states))
        exact = jnp.mean(measured.exact)
        metrics |= {
            f"{name}/exact": exact,
            f"{name}/spectral_norm": jnp.mean(measured.spectral_norm),
            f"{name}/estimator_std": jnp.sqrt(jnp.mean(measured.variance)) / exact,
        }
    return metrics


def _normalised(direction: Inputs) -> Inputs:
    norm = optax.tree.norm(direction)
    # The gradients of a constant map stay zero instead of becoming undefined.
    return optax.tree.scale(jnp.where(norm > 0, 1 / norm, 0), direction)
