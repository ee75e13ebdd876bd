"""GPLD: the gradient penalty on the latent distributions of a world model.

This is where the penalty, a transform of functions, meets the RSSM: which maps are
penalised, at which states, and how the numbers are reduced (paper, section 4).

A *site* says what is penalised: from the model and one replayed state, a map to a table of
rows and the inputs at which its Jacobian is taken.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..config import EstimatorName, GPLDConfig
from ..models import Dreamer, FactoredMap, Latent, Rollout
from .batch import Batch
from .gradient_penalty import Inputs, TableFn, draw_probes, flatten, gradient_penalty
from .gram_penalty import gram_penalty


class ReplayedState(NamedTuple):
    """One state of a batch, with the embedding, state and action that it was inferred from."""

    latent: Latent
    embed: Float[Array, "*states embed"]
    previous: Latent
    """The state before; zeros where an episode begins."""

    prev_action: Float[Array, "*states action"]
    """The action that led here, encoded, unclipped; zeros where an episode begins."""


Site = Callable[[Dreamer, ReplayedState], tuple[TableFn, Inputs]]
Penalised = Callable[[ReplayedState], tuple[TableFn, EstimatorName, Inputs]]


class Penalty(NamedTuple):
    """Penalty of one map on one batch, before its coefficient."""

    loss: Float[Array, "..."]
    """Unreduced; its mean enters the loss. The reduction `sampled` has one number for each
    penalised state, `batch` one for each state of the batch: 0 where it was not drawn."""

    norms: Float[Array, "sampled selected"]
    """Squared Jacobian norms by state and row; `joint` has their mean in every row."""


PenaltyFn = Callable[..., Penalty]


def posterior(model: Dreamer, state: ReplayedState) -> tuple[FactoredMap, Inputs]:
    """q(z_t | h_t, x_t) by h_t and the embedding of x_t: the paper's default site."""
    return model.rssm.posterior_map(), (state.latent.deter, state.embed)


def prior(model: Dreamer, state: ReplayedState) -> tuple[FactoredMap, Inputs]:
    """p(z_t | h_t) by h_t, at the posterior's states."""
    return model.rssm.prior_map(), (state.latent.deter,)


SITES: dict[str, Site] = {"gp_post": posterior, "gp_prior": prior}


def posterior_penalty(config: GPLDConfig) -> PenaltyFn:
    """Penalty of q(z_t | h_t, x_t) with respect to h_t and the embedding of x_t.

    Gradients reach everything that shaped the evaluation point: the recurrence through h_t
    and the encoder through the embedding.
    """
    return jacobian_penalty(posterior, config)


def prior_penalty(config: GPLDConfig) -> PenaltyFn:
    """Penalty of p(z_t | h_t) with respect to h_t, at the posterior's states."""
    return jacobian_penalty(prior, config)


def jacobian_penalty(site: Site, config: GPLDConfig) -> PenaltyFn:
    """Penalty of the map at a site, at a share of the states of a batch.

    Args:
        site: `(model, state) -> (map, inputs)` for one state. The map is closed over what
            it holds fixed. Where it is a `FactoredMap`, its first layer is taken through
            the Gram identity, unless the settings ask for the literal path.
        config: Estimator, probes, shares of states and rows, and reduction; its
            coefficients and schedule are not read here.

    Returns:
        A penalty `(model, batch, rollout, *, name, key) -> Penalty` for `penalized`.
    """

    def penalty(
        model: Dreamer, batch: Batch, rollout: Rollout, *, name: str, key: PRNGKeyArray
    ) -> Penalty:
        # The states are the same for every penalty; rows and probes are each one's own.
        states_key = jr.fold_in(key, zlib.crc32(b"states"))
        rows_key, probes_key = jr.split(jr.fold_in(key, zlib.crc32(name.encode())))
        states = replayed_states(model, batch, rollout)
        num_states = batch.reward.size
        sampled = draw_states(states_key, num_states, config.rho)
        states = jax.tree.map(lambda x: x.reshape(num_states, *x.shape[2:])[sampled], states)
        penalised, num_rows = _penalised(site, model, states, rows_key, config)
        probes = draw_state_probes(probes_key, penalised, states, config, name)

        def norms(state, probes):
            fn, estimator, inputs = penalised(state)
            if config.path == "gram" and isinstance(fn, FactoredMap):
                in_turn = model.rssm.forms.row_by_row
                estimate = gram_penalty(fn, estimator=estimator, row_by_row=in_turn)
            else:
                estimate = gradient_penalty(fn, estimator=estimator)
            return estimate(*inputs, probes=probes)

        by_row = jax.vmap(norms)(states, probes)
        if by_row.shape[1] != num_rows:  # one row holds all, see `for_mean`
            by_row = jnp.broadcast_to(by_row / num_rows, (by_row.shape[0], num_rows))
        loss = jnp.mean(by_row, axis=-1)  # over rows: the 1/K of equation 5
        if config.reduction == "batch":
            # As published: a mean over all states, of which the others contribute 0. This
            # multiplies the coefficient by rho.
            loss = jnp.zeros(num_states, loss.dtype).at[sampled].set(loss)
            loss = loss.reshape(batch.reward.shape)
        return Penalty(loss, by_row)

    return penalty


def replayed_states(model: Dreamer, batch: Batch, rollout: Rollout) -> ReplayedState:
    """Collect the states of a batch as sites see them, with leading axes `[batch, time]`."""
    context = jax.vmap(model.rssm.restore)(batch.context)
    previous = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[:, None], rest[:, :-1]], axis=1),
        context,
        rollout.latent,
    )
    previous, prev_action = jax.tree.map(
        lambda x: jnp.where(jnp.expand_dims(batch.is_first, range(2, x.ndim)), 0, x),
        (previous, model.policy.encode(batch.prev_action)),
    )
    return ReplayedState(rollout.latent, rollout.embed, previous, prev_action)


def draw_states(key: PRNGKeyArray, num_states: int, rho: float) -> Int[Array, " sampled"]:
    """Draw the indices of the penalised states: a share `rho` of all, at least one, no repeats."""
    sampled = max(1, int(rho * num_states))
    return jr.choice(key, num_states, (sampled,), replace=False)


def draw_rows(key: PRNGKeyArray, num_rows: int, config: GPLDConfig) -> Int[Array, " selected"]:
    """Draw the indices of the penalised rows, the same at every state of an update."""
    selected = num_rows if config.rows is None else min(config.rows, num_rows)
    if config.row_choice == "first":
        return jnp.arange(selected)
    return jr.choice(key, num_rows, (selected,), replace=False)


def draw_state_probes(
    key: PRNGKeyArray,
    penalised: Penalised,
    states: ReplayedState,
    config: GPLDConfig,
    name: str,
) -> PyTree[Float[Array, "sampled probes ..."]]:
    """Draw random signs at every penalised state, see `draw_probes`.

    Args:
        key: Random key, of one penalty and update.
        penalised: Map, estimator and inputs at a state.
        states: The penalised states.
        config: Number of probes.
        name: Name of the penalty, for callers that replay recorded draws.
    """
    del name

    def draw(state, key):
        fn, estimator, inputs = penalised(state)
        return draw_probes(fn, inputs, estimator=estimator, num_probes=config.num_probes, key=key)

    return jax.vmap(draw)(states, jr.split(key, states.embed.shape[0]))


def for_mean(fn: TableFn, estimator: EstimatorName) -> tuple[TableFn, EstimatorName]:
    """Choose the cheapest map and estimator where only the mean over rows is wanted.

    Returns:
        What was given, but for `joint` the table as one row that holds all, and `rowwise`:
        a single number, the sum over rows.
    """
    if estimator != "joint":
        return fn, estimator
    return fn.flatten() if isinstance(fn, FactoredMap) else flatten(fn), "rowwise"


def _penalised(
    site: Site, model: Dreamer, states: ReplayedState, key: PRNGKeyArray, config: GPLDConfig
) -> tuple[Penalised, int]:
    """Return map, estimator and inputs as a function of a state, and the number of rows."""

    def table(state):
        fn, inputs = site(model, state)
        return fn(*inputs)

    num_rows = jax.eval_shape(table, jax.tree.map(lambda x: x[0], states)).shape[0]
    rows = None if config.rows is None else draw_rows(key, num_rows, config)

    def penalised(state):
        fn, inputs = site(model, state)
        if rows is not None:
            fn = _select(fn, rows)
        return *for_mean(fn, config.estimator), inputs

    return penalised, num_rows if rows is None else rows.size


def _select(fn: TableFn, rows: Int[Array, " selected"]) -> TableFn:
    return fn.select(rows) if isinstance(fn, FactoredMap) else lambda *inputs: fn(*inputs)[rows]
