"""GPLD: the gradient penalty on the latent distributions of a world model.

This is where the penalty, a transform of functions, meets the RSSM: which maps are
penalised, at which states, and how the numbers are reduced (paper, section 4).
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..config import GPLDConfig
from ..models import RSSM, Rollout
from .gradient_penalty import rowwise


class Penalty(NamedTuple):
    """Penalty of one map on one batch, before its coefficient."""

    loss: Float[Array, "..."]
    """Unreduced; its mean enters the loss. The reduction `sampled` has one number for each
    penalised state, `batch` one for each state of the batch: 0 where it was not drawn."""

    norms: Float[Array, "sampled selected"]
    """Squared Jacobian norms by state and row."""


PenaltyFn = Callable[..., Penalty]


def posterior_penalty(config: GPLDConfig) -> PenaltyFn:
    """Penalty of q(z_t | h_t, x_t) with respect to h_t and the embedding of x_t.

    The paper's default. Gradients reach everything that shaped the evaluation point: the
    recurrence through h_t and the encoder through the embedding.
    """

    def penalty(rssm: RSSM, rollout: Rollout, *, key: PRNGKeyArray) -> Penalty:
        inputs = (rollout.latent.deter, rollout.embed)
        return _penalty(rssm.posterior_probs, inputs, rssm, config, "gp_post", key)

    return penalty


def prior_penalty(config: GPLDConfig) -> PenaltyFn:
    """Penalty of p(z_t | h_t) with respect to h_t, at the posterior's states."""

    def penalty(rssm: RSSM, rollout: Rollout, *, key: PRNGKeyArray) -> Penalty:
        inputs = (rollout.latent.deter,)
        return _penalty(rssm.prior_probs, inputs, rssm, config, "gp_prior", key)

    return penalty


PENALTIES: dict[str, Callable[[GPLDConfig], PenaltyFn]] = {
    "gp_post": posterior_penalty,
    "gp_prior": prior_penalty,
}


def _penalty(
    fn: Callable[..., Float[Array, "rows classes"]],
    inputs: tuple[Float[Array, "batch time _"], ...],
    rssm: RSSM,
    config: GPLDConfig,
    name: str,
    key: PRNGKeyArray,
) -> Penalty:
    # The states are the same for every map; rows and probes are each map's own.
    states_key = jr.fold_in(key, zlib.crc32(b"states"))
    rows_key, probes_key = jr.split(jr.fold_in(key, zlib.crc32(name.encode())))
    batch_shape = inputs[0].shape[:2]
    num_states = batch_shape[0] * batch_shape[1]
    states = draw_states(states_key, num_states, config.rho)
    rows = draw_rows(rows_key, rssm.stoch, config)
    inputs = jax.tree.map(lambda x: x.reshape(num_states, -1)[states], inputs)
    shape = (states.size, rows.size, rssm.classes)
    probes = draw_probes(probes_key, shape, name)
    estimate = rowwise(fn)
    norms = jax.vmap(lambda u, e: estimate(*u, rows=rows, probes=e))(inputs, probes)
    loss = jnp.mean(norms, axis=-1)  # over rows: the 1/K of equation 5
    if config.reduction == "batch":
        # As published: a mean over all states, of which the others contribute 0. This
        # multiplies the coefficient by rho.
        loss = jnp.zeros(num_states, loss.dtype).at[states].set(loss)
        loss = loss.reshape(batch_shape)
    return Penalty(loss, norms)


def draw_states(key: PRNGKeyArray, num_states: int, rho: float) -> Int[Array, " sampled"]:
    """Indices of the penalised states: a share `rho` of all, at least one, no repeats."""
    sampled = max(1, int(rho * num_states))
    return jr.choice(key, num_states, (sampled,), replace=False)


def draw_rows(key: PRNGKeyArray, num_rows: int, config: GPLDConfig) -> Int[Array, " selected"]:
    """Indices of the penalised rows, the same at every state of an update."""
    selected = num_rows if config.rows is None else config.rows
    if config.row_choice == "first":
        return jnp.arange(selected)
    return jr.choice(key, num_rows, (selected,), replace=False)


def draw_probes(
    key: PRNGKeyArray, shape: tuple[int, int, int], name: str
) -> Float[Array, "sampled selected classes"]:
    """Random signs, independent over states, rows and classes.

    Args:
        key: Random key, of one penalty and update.
        shape: Numbers of penalised states, rows and classes.
        name: Name of the penalty, for callers that replay recorded draws.
    """
    del name
    return jr.rademacher(key, shape, jnp.float32)
