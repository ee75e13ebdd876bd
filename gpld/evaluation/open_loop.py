"""Open-loop predictions: the world model sees the beginning of sequences and predicts the rest."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..losses import Batch, observe
from ..models import Dreamer, Latent

Predictions = dict[str, Shaped[Array, "batch time ..."]]
"""Observations by name: vectors in their own units, classes, images between 0 and 1."""


def predict_open_loop(
    model: Dreamer, batch: Batch, num_seen: int, *, key: PRNGKeyArray
) -> Predictions:
    """Reconstruct the beginning of sequences, and predict the rest from the prior alone.

    From the step `num_seen` on the model is told the actions alone; latent states are sampled.

    Args:
        model: Networks.
        batch: Replayed sequences.
        num_seen: Steps that the model sees, at least 1 and fewer than the sequences have.
        key: Random key.

    Returns:
        Predictions for every step of every sequence.
    """
    observe_key, dream_key = jr.split(key)
    beginning = {
        name: jax.tree.map(lambda x: x[:, :num_seen], value)
        for name, value in batch._asdict().items()
        if name != "context"
    }
    seen = observe(model, batch._replace(**beginning), key=observe_key).latent

    def dream(latent: Latent, actions: Float[Array, "time action"], key: PRNGKeyArray) -> Latent:
        def step(latent, inputs):
            action, key = inputs
            latent = model.rssm.imagine(latent, action, key=key)
            return latent, latent

        keys = jr.split(key, actions.shape[0])
        return jax.lax.scan(step, latent, (actions, keys))[1]

    last = jax.tree.map(lambda x: x[:, -1], seen)
    actions = model.policy.encode(batch.prev_action[:, num_seen:])
    dreamed = jax.vmap(dream)(last, actions, jr.split(dream_key, actions.shape[0]))
    latents = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), seen, dreamed)
    return jax.vmap(jax.vmap(model.decoder.observation))(latents)
