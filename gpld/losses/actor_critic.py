"""Actor and critic learned in imagination (Hafner et al., 2025, "Critic learning")."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..config import ActorCriticConfig
from ..models import Dreamer, Latent, Rollout, TwoHotHead
from .batch import Batch
from .returns import ReturnNorm, lambda_returns


class Trajectory(NamedTuple):
    """An imagined rollout of H steps."""

    latent: Latent
    """States s_0 (where it starts) to s_H."""

    action: Float[Array, "*batch length action"]
    """Actions a_0 to a_{H-1}."""


def imagine(model: Dreamer, start: Latent, length: int, *, key: PRNGKeyArray) -> Trajectory:
    """Rolls out policy and prior for `length` steps from one state, without gradients."""
    model, start = jax.lax.stop_gradient((model, start))

    def step(latent, key):
        action_key, latent_key = jr.split(key)
        action = model.policy(latent.feat()).sample(action_key)
        return model.rssm.imagine(latent, action, key=latent_key), (latent, action)

    last, (latents, actions) = jax.lax.scan(step, start, jr.split(key, length))
    latents = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), latents, last)
    return Trajectory(latents, actions)


class Predictions(NamedTuple):
    """What is predicted at the states s_0 to s_H of imagined rollouts, held fixed."""

    reward: Float[Array, "rollout length"]
    cont: Float[Array, "rollout length"]
    """Probability that the episode goes on, times the discount."""

    slow_value: Float[Array, "rollout length"]


def actor_critic_losses(
    model: Dreamer,
    slow_value: TwoHotHead,
    return_norm: ReturnNorm,
    rollout: Rollout,
    batch: Batch,
    config: ActorCriticConfig,
    *,
    key: PRNGKeyArray,
) -> tuple[dict[str, Float[Array, "..."]], ReturnNorm, dict[str, Float[Array, ""]]]:
    """Losses of policy and value, from an imagined rollout at every replayed state.

    No gradient of the imagined losses reaches the world model; that of `repval` does.

    Args:
        model: Networks.
        slow_value: Moving average of the value head.
        return_norm: Moving percentiles of the returns.
        rollout: Posterior states of the batch.
        batch: Replayed sequences.
        config: Settings.
        key: Random key.

    Returns:
        The unreduced losses `policy` and `value` of shape `[batch, time]` and `repval` of
        shape `[batch, time - 1]`; the percentiles after this batch; metrics.
    """
    batch_shape = batch.reward.shape
    starts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollout.latent)
    keys = jr.split(key, batch.reward.size)
    trajectory = jax.vmap(lambda start, key: imagine(model, start, config.imag_length, key=key))(
        starts, keys
    )
    feat = _batched(Latent.feat)(trajectory.latent)
    predicted = _predict(model, slow_value, feat)

    # The value head is trained on s_0 to s_{H-1} and bootstraps from all states.
    value_dist = _batched(model.value)(feat[:, :-1])
    last_value = jax.vmap(lambda x: model.value(x).mean())(feat[:, -1])
    value = jnp.concatenate(
        [_batched(lambda dist: dist.mean())(value_dist), last_value[:, None]], axis=1
    )
    value = jax.lax.stop_gradient(value)
    trace = jnp.full_like(value, config.trace)
    following = (predicted.reward, predicted.cont, value, trace)
    returns = jax.vmap(lambda_returns)(*(x[:, 1:] for x in following))
    return_norm = return_norm.update(returns, config)
    advantage = (returns - value[:, :-1]) / return_norm.scale(config)
    weight = jnp.cumprod(predicted.cont, axis=1)

    policy = _batched(model.policy)(feat[:, :-1])
    log_prob = _batched(lambda dist, a: dist.log_prob(a))(policy, trajectory.action)
    entropy = _batched(lambda dist: dist.entropy())(policy)
    policy_loss = -(log_prob * advantage + config.entropy * entropy)
    value_loss = _value_loss(value_dist, returns, predicted.slow_value[:, :-1], config)

    # On replayed states the bootstrap is the imagined return that starts there.
    targets = replay_returns(batch, returns[:, 0].reshape(batch_shape), config)
    slow_start = predicted.slow_value[:, 0].reshape(batch_shape)
    replay_value = _batched(lambda z: model.value(z.feat()))(
        jax.tree.map(lambda x: x[:, :-1], rollout.latent)
    )
    repval_loss = _value_loss(replay_value, targets, slow_start[:, :-1], config)

    losses = {
        "policy": jnp.mean(weight[:, :-1] * policy_loss, axis=1).reshape(batch_shape),
        "value": jnp.mean(weight[:, :-1] * value_loss, axis=1).reshape(batch_shape),
        "repval": jnp.where(batch.is_last[:, :-1], 0.0, repval_loss),
    }
    normed = (returns - return_norm.low) / return_norm.scale(config)
    metrics = {
        "adv": jnp.mean(advantage),
        "adv_std": jnp.std(advantage),
        "adv_mag": jnp.mean(jnp.abs(advantage)),
        "rew": jnp.mean(predicted.reward),
        "con": jnp.mean(predicted.cont),
        "val": jnp.mean(value),
        "slowval": jnp.mean(predicted.slow_value),
        "weight": jnp.mean(weight),
        "ret": jnp.mean(normed),
        "ret_min": jnp.min(normed),
        "ret_max": jnp.max(normed),
        "ret_rate": jnp.mean(jnp.abs(normed) >= 1),
        "tar": jnp.mean(returns),
        "ent/action": jnp.mean(entropy),
    }
    return losses, return_norm, metrics


def _predict(
    model: Dreamer, slow_value: TwoHotHead, feat: Float[Array, "rollout length feat"]
) -> Predictions:
    """Predictions that no loss of the actor-critic differentiates."""
    model = jax.lax.stop_gradient(model)
    return Predictions(
        reward=_batched(lambda x: model.reward(x).mean())(feat),
        cont=_batched(lambda x: model.cont(x).prob())(feat),
        slow_value=_batched(lambda x: slow_value(x).mean())(feat),
    )


def replay_returns(
    batch: Batch, bootstrap: Float[Array, "batch time"], config: ActorCriticConfig
) -> Float[Array, "batch time-1"]:
    """Lambda-returns along the replayed sequences.

    Args:
        batch: Replayed sequences.
        bootstrap: At every state, the imagined lambda-return that starts there.
        config: Settings.

    Returns:
        Targets for all steps but the last. The trace is cut where an episode ends, and
        nothing follows a terminal state.
    """
    discount = jnp.where(batch.is_terminal, 0.0, config.discount)
    trace = jnp.where(batch.is_last, 0.0, config.trace)
    following = (batch.reward, discount, bootstrap, trace)
    return jax.vmap(lambda_returns)(*(x[:, 1:] for x in following))


def _value_loss(dist, returns, slow, config):
    """Cross-entropy with the returns, and with the slow value as a regulariser."""

    def loss(dist, target, slow):
        return dist.loss(target) + config.slow_regularizer * dist.loss(slow)

    return _batched(loss)(dist, returns, slow)


def _batched(fn):
    """Adds two leading axes: batch and time, or rollout and imagined step."""
    return jax.vmap(jax.vmap(fn))
