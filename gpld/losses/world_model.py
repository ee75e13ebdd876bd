"""World-model losses of DreamerV3 (Hafner et al., 2025, "World model learning")."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from ..models import Dreamer, Latent, Rollout
from ..models.chunks import map_states
from .batch import Batch


def observe(model: Dreamer, batch: Batch, *, key: PRNGKeyArray) -> Rollout:
    """Infer the posterior states along the sequences of a batch, from the stored context on."""
    embed = map_states(model.encoder, batch.observation, in_chunks=model.encoder.in_chunks)
    context = jax.vmap(model.rssm.restore)(batch.context)
    action = model.policy.encode(batch.prev_action)
    keys = jr.split(key, embed.shape[0])
    return jax.vmap(
        lambda latent, embed, action, first, key: model.rssm.observe_sequence(
            latent, embed, action, first, key=key
        )
    )(context, embed, action, batch.is_first, keys)


def world_model_losses(
    model: Dreamer,
    rollout: Rollout,
    batch: Batch,
    *,
    discount: float,
    free_nats: float,
) -> tuple[dict[str, Float[Array, "batch time"]], dict[str, Float[Array, "batch time"]]]:
    """Compute the losses of every state of a batch, by name and unreduced.

    One for each observation, `rew`, `con`, `dyn` and `rep`.

    Args:
        model: Networks.
        rollout: Posterior states of the batch.
        batch: Replayed sequences.
        discount: Target of the continue head while an episode goes on, so that the
            discount is learned with it.
        free_nats: Lower bound of each KL, in nats.

    Returns:
        The losses, and the entropies `dyn_ent` and `rep_ent` of prior and posterior in
        nats.
    """

    def state_losses(
        latent: Latent,
        posterior_logits: Float[Array, "stoch classes"],
        observation: Mapping[str, Shaped[Array, "..."]],
        reward: Float[Array, ""],
        is_terminal: Bool[Array, ""],
    ):
        feat = latent.feat()
        prior = model.rssm.dist(model.rssm.prior_logits(latent.deter))
        posterior = model.rssm.dist(posterior_logits)
        fixed_prior, fixed_posterior = jax.lax.stop_gradient((prior, posterior))
        losses = {
            **model.decoder.losses(latent, observation),
            "rew": model.reward(feat).loss(reward),
            "con": model.cont(feat).loss(jnp.where(is_terminal, 0.0, discount)),
            "dyn": jnp.maximum(fixed_posterior.kl(prior), free_nats),
            "rep": jnp.maximum(posterior.kl(fixed_prior), free_nats),
        }
        return losses, {"dyn_ent": prior.entropy(), "rep_ent": posterior.entropy()}

    return map_states(
        state_losses,
        rollout.latent,
        rollout.posterior_logits,
        batch.observation,
        batch.reward,
        batch.is_terminal,
        in_chunks=model.encoder.in_chunks,
    )
