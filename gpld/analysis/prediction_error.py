"""Prediction errors of a world model on episodes that it has not seen, and its smoothness there.

The model sees an episode from its beginning to some env steps before a moment, and goes on from the
prior alone, told the actions that were taken. The error at a horizon is the squared difference
between what it predicts and what came, in shares of the variance of what came: 1 is the error of
its mean, which knows nothing. Latent states are sampled, as in imagination, so that a model that
knows the distribution of what comes, and no more, has an error of 2.
"""

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..losses import Batch, observe
from ..models import Dreamer
from ..xla.precision import full_products
from .sensitivity import Sensitivity, VisitedStates, measure

HORIZONS = (1, 5, 15, 45)
"""Env steps ahead of what the model has seen."""

FIRST_MOMENT = 50 + max(HORIZONS)
"""Env step that is the first to be predicted, when the model has seen 50 at least."""

_EVERY = 10  # env steps between two that are predicted, and between two of the sensitivity


class PredictionError(NamedTuple):
    """Errors of one world model on some episodes."""

    observation: tuple[float, ...]
    """Mean over the numbers of an observation, for each of `HORIZONS`."""

    reward: tuple[float, ...]
    """For each of `HORIZONS`."""

    kl: float
    """KL of the posterior from the prior in nats, a mean over all states: how much an
    observation surprises."""

    posterior: Sensitivity
    prior: Sensitivity


class Episodes(NamedTuple):
    """Episodes of equal length, as an environment gives them."""

    observation: dict[str, Shaped[np.ndarray, "episode time ..."]]
    action: Shaped[np.ndarray, "episode time ..."]
    """At t, the action taken after the observation at t."""

    reward: Float[np.ndarray, "episode time"]
    """At t, the reward on arriving at the observation at t."""


def prediction_error(model: Dreamer, episodes: Episodes, *, key: PRNGKeyArray) -> PredictionError:
    """Measure how well a world model predicts some episodes.

    What is predicted is the same at every horizon: moments that are 10 env steps apart, from
    `FIRST_MOMENT` on.

    Args:
        model: Networks.
        episodes: Episodes of vectors, which the model has not been trained on.
        key: Random key of latent states and perturbations.

    Raises:
        ValueError: If the episodes are too short.
    """
    num_steps = episodes.reward.shape[1]
    moments = np.arange(FIRST_MOMENT, num_steps, _EVERY)
    if len(moments) == 0:
        raise ValueError(
            f"`episodes` must have more than {FIRST_MOMENT} env steps, got {num_steps}."
        )
    predict_key, perturb_key = jr.split(key)
    with full_products(model.rssm.dtype):
        predicted, reward, kl, states = _predict(
            model, as_batch(model, episodes), jnp.asarray(moments), key=predict_key
        )
        posterior, prior = measure(model.rssm, states, key=perturb_key)
    true = {
        name: x.reshape(*x.shape[:2], -1).astype(np.float64)
        for name, x in episodes.observation.items()
    }
    errors = [
        relative_error(x.reshape(*x.shape[:3], -1), true[name][:, moments])
        for name, x in jax.device_get(predicted).items()
    ]
    truth = episodes.reward.astype(np.float64)[:, moments, None]
    return PredictionError(
        observation=tuple(np.nanmean(np.concatenate(errors, axis=-1), axis=-1).tolist()),
        reward=tuple(relative_error(np.asarray(reward)[..., None], truth)[:, 0].tolist()),
        kl=float(kl),
        posterior=posterior,
        prior=prior,
    )


def relative_error(
    predicted: Float[np.ndarray, "episode moment horizon number"],
    true: Float[np.ndarray, "episode moment number"],
) -> Float[np.ndarray, "horizon number"]:
    """Mean squared errors in shares of a variance; NaN for numbers that never change.

    Args:
        predicted: What was predicted for each moment from each horizon.
        true: What came.
    """
    variance = true.var(axis=(0, 1))
    error = np.mean((predicted.astype(np.float64) - true[:, :, None]) ** 2, axis=(0, 1))
    return np.divide(error, variance, out=np.full_like(error, math.nan), where=variance > 1e-12)


@eqx.filter_jit
def _predict(model: Dreamer, batch: Batch, moments: Array, *, key: PRNGKeyArray):
    """Predictions and rewards `[episode, moment, horizon, ...]`, mean KL, inputs of both tables."""
    observe_key, dream_key = jr.split(key)
    rollout = observe(model, batch, key=observe_key)
    action = model.policy.encode(batch.prev_action)

    def dream(latents, actions, moment, key, horizon):
        """Predict a moment from what was seen until `horizon` env steps before it."""

        def step(latent, inputs):
            action, key = inputs
            return model.rssm.imagine(latent, action, key=key), None

        latent = jax.tree.map(lambda x: x[moment - horizon], latents)
        taken = jax.lax.dynamic_slice_in_dim(actions, moment - horizon + 1, horizon)
        latent, _ = jax.lax.scan(step, latent, (taken, jr.split(key, horizon)))
        return model.decoder.observation(latent), model.reward(latent.feat()).mean()

    def dreams(horizon):
        keys = jr.split(jr.fold_in(dream_key, horizon), (batch.reward.shape[0], moments.size))
        one = functools.partial(dream, horizon=horizon)
        of_episode = jax.vmap(one, in_axes=(None, None, 0, 0))
        return jax.vmap(of_episode, in_axes=(0, 0, None, 0))(rollout.latent, action, moments, keys)

    predicted, reward = jax.tree.map(lambda *x: jnp.stack(x, axis=2), *map(dreams, HORIZONS))

    def divergence(deter, logits):
        return model.rssm.dist(logits).kl(model.rssm.dist(model.rssm.prior_logits(deter)))

    deter = rollout.latent.deter
    kl = jnp.mean(jax.vmap(jax.vmap(divergence))(deter, rollout.posterior_logits))
    some = {name: x[:, ::_EVERY] for name, x in batch.observation.items()}
    embed = jax.vmap(jax.vmap(model.encoder))(some)
    flat = lambda x: x.reshape(-1, x.shape[-1]).astype(jnp.float32)  # noqa: E731
    return predicted, reward, kl, VisitedStates(flat(deter[:, ::_EVERY]), flat(embed))


def as_batch(model: Dreamer, episodes: Episodes) -> Batch:
    """Return episodes as replayed sequences that begin with them."""
    num_episodes, num_steps = episodes.reward.shape
    first = np.zeros((num_episodes, num_steps), bool)
    first[:, 0] = True
    last = np.roll(first, -1, axis=1)
    zero = np.zeros_like(episodes.action[:, :1])
    context = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (num_episodes, *x.shape)),
        model.rssm.store(model.rssm.initial()),
    )
    return Batch(
        observation={name: jnp.asarray(x) for name, x in episodes.observation.items()},
        prev_action=jnp.asarray(np.concatenate([zero, episodes.action[:, :-1]], axis=1)),
        reward=jnp.asarray(episodes.reward),
        is_first=jnp.asarray(first),
        is_last=jnp.asarray(last),
        is_terminal=jnp.zeros((num_episodes, num_steps), bool),
        context=context,
    )
