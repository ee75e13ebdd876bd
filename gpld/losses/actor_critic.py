"""Actor and critic learned in imagination (Hafner et al., 2025, "Critic learning")."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..config import ActorCriticConfig
from ..models import Dreamer, Rollout, SymexpTwoHot, TwoHotHead, apply_heads
from .batch import Batch
from .imagination import TIME_FIRST, Imagined, imagine
from .returns import ReturnNorm, lambda_returns


class Returns(NamedTuple):
    """Returns of a batch of imagined rollouts, held fixed; time is the first axis."""

    returns: Float[Array, "length rollout"]
    """Lambda-returns at s_0 to s_{H-1}."""

    advantage: Float[Array, "length rollout"]
    """Returns minus values, in units of the return's scale."""

    value: Float[Array, "length_and_last rollout"]
    """Values of s_0 to s_H."""

    weight: Float[Array, "length rollout"]
    """Probability that s_0 to s_{H-1} are reached, times the discount."""


def actor_critic_losses(
    model: Dreamer,
    slow_value: TwoHotHead,
    return_norm: ReturnNorm,
    rollout: Rollout,
    batch: Batch,
    config: ActorCriticConfig,
    *,
    feat_dtype: jnp.dtype | None = None,
    key: PRNGKeyArray,
) -> tuple[dict[str, Float[Array, "..."]], ReturnNorm, dict[str, Float[Array, ""]]]:
    """Compute the losses of policy and value, from an imagined rollout at every replayed state.

    No gradient of the imagined losses reaches the world model; that of `repval` does.

    Args:
        model: Networks.
        slow_value: Moving average of the value head.
        return_norm: Moving percentiles of the returns.
        rollout: Posterior states of the batch.
        batch: Replayed sequences.
        config: Settings.
        feat_dtype: Dtype in which imagined features are kept, which only products read;
            that of the latents if it is None.
        key: Random key.

    Returns:
        The unreduced losses `policy` and `value` of shape `[batch, time]` and `repval` of
        shape `[batch, time - 1]`; the percentiles after this batch; metrics.
    """
    starts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollout.latent)
    imagined = jax.vmap(
        lambda start, key: imagine(
            model, slow_value, start, config.imag_length, kept=feat_dtype, key=key
        ),
        out_axes=TIME_FIRST,
    )(starts, jr.split(key, batch.reward.size))
    learned = (model.policy, model.value)
    policy, value = _batched(lambda x, y: apply_heads(learned, x, first=y))(
        imagined.feat, imagined.first
    )
    worth, return_norm = _returns(model, value, imagined, return_norm, config)

    entropy = _batched(lambda dist: dist.entropy())(policy)
    log_prob = _batched(lambda dist, a: dist.log_prob(a))(policy, imagined.action)
    policy_loss = -(log_prob * worth.advantage + config.entropy * entropy)
    slow = imagined.predicted.slow_value
    value_loss = _value_loss(value, worth.returns, slow[:-1], config)

    batch_shape = batch.reward.shape
    first_returns, first_slow = (x[0].reshape(batch_shape) for x in (worth.returns, slow))
    losses = {
        "policy": jnp.mean(worth.weight * policy_loss, axis=0).reshape(batch_shape),
        "value": jnp.mean(worth.weight * value_loss, axis=0).reshape(batch_shape),
        "repval": _replay_loss(model, rollout, batch, first_returns, first_slow, config),
    }
    metrics = _metrics(imagined, worth, return_norm, config)
    return losses, return_norm, metrics | model.policy.metrics(jnp.mean(entropy))


def _returns(
    model: Dreamer,
    value: SymexpTwoHot,
    imagined: Imagined,
    return_norm: ReturnNorm,
    config: ActorCriticConfig,
) -> tuple[Returns, ReturnNorm]:
    """Compute the returns of imagined rollouts, and the percentiles after them."""
    last = jax.vmap(lambda x: model.value(x).mean())(imagined.last)
    values = jnp.concatenate([_batched(lambda dist: dist.mean())(value), last[None]])
    values = jax.lax.stop_gradient(values)
    predicted, trace = imagined.predicted, jnp.full_like(values, config.trace)
    following = (predicted.reward, predicted.cont, values, trace)
    mix = functools.partial(lambda_returns, parallel=model.rssm.forms.parallel_returns)
    returns = jax.vmap(mix, 1, 1)(*(x[1:] for x in following))
    return_norm = return_norm.update(returns, config)
    advantage = (returns - values[:-1]) / return_norm.scale(config)
    weight = jnp.cumprod(predicted.cont, axis=0)[:-1]
    return Returns(returns, advantage, values, weight), return_norm


def _metrics(
    imagined: Imagined, worth: Returns, return_norm: ReturnNorm, config: ActorCriticConfig
) -> dict[str, Float[Array, ""]]:
    predicted, advantage = imagined.predicted, worth.advantage
    normed = (worth.returns - return_norm.low) / return_norm.scale(config)
    # The weight of s_H, which no loss uses, counts in the published metric.
    weight = jnp.cumprod(predicted.cont, axis=0)
    return {
        "adv": jnp.mean(advantage),
        "adv_std": jnp.std(advantage),
        "adv_mag": jnp.mean(jnp.abs(advantage)),
        "rew": jnp.mean(predicted.reward),
        "con": jnp.mean(predicted.cont),
        "val": jnp.mean(worth.value),
        "slowval": jnp.mean(predicted.slow_value),
        "weight": jnp.mean(weight),
        "ret": jnp.mean(normed),
        "ret_min": jnp.min(normed),
        "ret_max": jnp.max(normed),
        "ret_rate": jnp.mean(jnp.abs(normed) >= 1),
        "tar": jnp.mean(worth.returns),
    }


def _replay_loss(
    model: Dreamer,
    rollout: Rollout,
    batch: Batch,
    bootstrap: Float[Array, "batch time"],
    slow: Float[Array, "batch time"],
    config: ActorCriticConfig,
) -> Float[Array, "batch time-1"]:
    """Compute the loss of the value on replayed states, from the imagined returns there."""
    parallel = model.rssm.forms.parallel_returns
    targets = replay_returns(batch, bootstrap, config, parallel=parallel)
    # The last state has no target. It goes through the head all the same: GPUs multiply in tiles,
    # and XLA has none for gradients that are sums over 63 states of several agents.
    value = _batched(lambda z: model.value(z.feat()))(rollout.latent)
    value = jax.tree.map(lambda x: x[:, :-1], value)
    loss = _value_loss(value, targets, slow[:, :-1], config)
    return jnp.where(batch.is_last[:, :-1], 0.0, loss)


def replay_returns(
    batch: Batch,
    bootstrap: Float[Array, "batch time"],
    config: ActorCriticConfig,
    *,
    parallel: bool = False,
) -> Float[Array, "batch time-1"]:
    """Compute lambda-returns along the replayed sequences.

    Args:
        batch: Replayed sequences.
        bootstrap: At every state, the imagined lambda-return that starts there.
        config: Settings.
        parallel: See `lambda_returns`.

    Returns:
        Targets for all steps but the last. The trace is cut where an episode ends, and
        nothing follows a terminal state.
    """
    discount = jnp.where(batch.is_terminal, 0.0, config.discount)
    trace = jnp.where(batch.is_last, 0.0, config.trace)
    following = (batch.reward, discount, bootstrap, trace)
    mix = functools.partial(lambda_returns, parallel=parallel)
    return jax.vmap(mix)(*(x[:, 1:] for x in following))


def _value_loss(dist, returns, slow, config):
    """Cross-entropy with the returns, and with the slow value as a regulariser."""

    def loss(dist, target, slow):
        return dist.loss(target) + config.slow_regularizer * dist.loss(slow)

    return _batched(loss)(dist, returns, slow)


def _batched(fn):
    """Add two leading axes: batch and time, or imagined step and rollout."""
    return jax.vmap(jax.vmap(fn))
