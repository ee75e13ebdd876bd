"""The objective of GPLD-DreamerV3: DreamerV3's losses, and penalties composed onto them.

A loss is a function `(model, batch, *, update, key) -> (loss, LossOutput)`; `penalized`
turns one into another.
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..config import Config, LossConfig
from ..config.train_ratio import train_ratio
from ..models import Dreamer, Rollout, TwoHotHead
from .actor_critic import actor_critic_losses
from .batch import Batch
from .gpld import SITES, PenaltyFn, jacobian_penalty
from .returns import ReturnNorm
from .schedules import Schedule, make_schedule
from .world_model import observe, world_model_losses


class LossOutput(NamedTuple):
    """Results of a loss besides its value."""

    losses: dict[str, Float[Array, "..."]]
    """Unreduced losses by name, before their scales."""

    rollout: Rollout
    """Posterior states of the batch."""

    return_norm: ReturnNorm
    """Return percentiles after the batch."""

    metrics: dict[str, Float[Array, ""]]


_BEHAVIOUR = ("policy", "value", "repval")

LossFn = Callable[..., tuple[Float[Array, ""], LossOutput]]


def dreamer_loss(
    config: Config,
    slow_value: TwoHotHead,
    return_norm: ReturnNorm,
    *,
    feat_dtype: jnp.dtype | None = None,
) -> LossFn:
    """Make DreamerV3's loss: the sum over its terms of scale times mean.

    Where `config.learn` is the world model alone, policy and value have no terms.

    Args:
        config: Settings.
        slow_value: Moving average of the value head.
        return_norm: Percentiles of the returns before the batch.
        feat_dtype: Dtype in which imagined features are kept, see `actor_critic_losses`.
    """

    def loss(
        model: Dreamer, batch: Batch, *, update: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], LossOutput]:
        del update
        observe_key, imagine_key = jr.split(key)
        rollout = observe(model, batch, key=observe_key)
        losses, entropies = world_model_losses(
            model,
            rollout,
            batch,
            discount=config.ac.discount,
            free_nats=config.loss.free_nats,
        )
        scales = loss_scales(config.loss, batch.observation)
        new_return_norm, metrics = return_norm, {}
        if config.learn == "world_model":
            scales = {name: scale for name, scale in scales.items() if name not in _BEHAVIOUR}
        else:
            actor_critic, new_return_norm, metrics = actor_critic_losses(
                model,
                slow_value,
                return_norm,
                rollout,
                batch,
                config.ac,
                feat_dtype=feat_dtype,
                key=imagine_key,
            )
            losses = losses | actor_critic
        means = {name: jnp.mean(values) for name, values in losses.items()}
        if scales.keys() != means.keys():
            raise ValueError(
                f"Losses {sorted(means)} and scales {sorted(scales)} must have the same names."
            )
        total = jnp.sum(jnp.stack([scales[name] * mean for name, mean in means.items()]))
        metrics |= {name: jnp.mean(values) for name, values in entropies.items()}
        metrics |= {f"loss/{name}": mean for name, mean in means.items()}
        return total, LossOutput(losses, rollout, new_return_norm, metrics)

    return loss


def loss_scales(config: LossConfig, observations: Iterable[str]) -> dict[str, float]:
    """Return the scale of every loss of DreamerV3 by its name, with those of observations."""
    scales = dataclasses.asdict(config)
    del scales["free_nats"]
    reconstruction: float = scales.pop("rec")
    return dict.fromkeys(observations, reconstruction) | scales


def penalized(loss_fn: LossFn, penalty_fn: PenaltyFn, name: str, *, weight: Schedule) -> LossFn:
    """Add a penalty to a loss and return a loss of the same signature.

    Args:
        loss_fn: The loss.
        penalty_fn: `(model, batch, rollout, *, name, key) -> Penalty`, for instance what
            `jacobian_penalty` gives.
        name: Name of the penalty among losses and metrics; two penalties of a loss must
            have different ones, which also tell their random streams apart.
        weight: Coefficient by update count; multiplies the mean of the penalty's table.

    Raises:
        ValueError: When the loss is called, if it has a loss of this name already.
    """

    def loss(
        model: Dreamer, batch: Batch, *, update: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], LossOutput]:
        value, output = loss_fn(model, batch, update=update, key=key)
        if name in output.losses:
            raise ValueError(f"`name` must be new among {sorted(output.losses)}, got {name!r}.")
        # Not a split: the loss draws the same numbers with and without the penalty.
        key = jr.fold_in(key, zlib.crc32(b"penalty"))
        penalty = penalty_fn(model, batch, output.rollout, name=name, key=key)
        coefficient = weight(update)
        mean = jnp.mean(penalty.loss)
        per_row = jnp.mean(penalty.norms, axis=0)
        metrics = {
            f"loss/{name}": mean,
            name: jnp.mean(penalty.norms),
            f"{name}_total": jnp.mean(jnp.sum(penalty.norms, axis=1)),
            f"{name}_row_std": jnp.std(per_row),
            f"{name}_lam": coefficient,
        }
        output = output._replace(
            losses=output.losses | {name: penalty.loss},
            metrics=output.metrics | metrics,
        )
        return value + coefficient * mean, output

    return loss


def make_loss(
    config: Config,
    slow_value: TwoHotHead,
    return_norm: ReturnNorm,
    *,
    feat_dtype: jnp.dtype | None = None,
) -> LossFn:
    """Make the whole objective that the settings describe.

    With `gpld.lambda0` 0 it is exactly `dreamer_loss`, whose arguments it takes.
    """
    loss = dreamer_loss(config, slow_value, return_norm, feat_dtype=feat_dtype)
    return with_penalties(loss, config)


def with_penalties(loss: LossFn, config: Config) -> LossFn:
    """Add the penalties that the settings turn on to a loss."""
    ratio = train_ratio(config)
    for name, lambda0 in config.gpld.coefficients.items():
        schedule = make_schedule(lambda0, config.gpld.schedule, ratio)
        penalty = jacobian_penalty(SITES[name], config.gpld)
        loss = penalized(loss, penalty, name, weight=schedule)
    return loss
