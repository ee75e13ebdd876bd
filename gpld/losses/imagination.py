"""Rollouts of the policy in the world model (Hafner et al., 2025, "Actor critic learning")."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from ..models import Dreamer, Latent, TwoHotHead, apply_heads, first_layers


class Predictions(NamedTuple):
    """Predictions at the states s_0 to s_H."""

    reward: Float[Array, "*batch length"]
    cont: Float[Array, "*batch length"]
    """Probability that the episode goes on, times the discount."""

    slow_value: Float[Array, "*batch length"]


class Imagined(NamedTuple):
    """An imagined rollout of H steps; no gradient passes through it."""

    feat: Float[Array, "*batch length feat"]
    """Model features of s_0 (where it starts) to s_{H-1}, in the dtype asked for."""

    first: Float[Array, "*batch length units"]
    """Outputs of the first affine layers of policy and value there."""

    action: Float[Array, "*batch length action"] | Int[Array, "*batch length"]
    """Actions a_0 to a_{H-1}."""

    last: Float[Array, "*batch feat"]
    """Model feature of s_H."""

    predicted: Predictions


TIME_FIRST = Imagined(feat=1, first=1, action=1, last=0, predicted=1)  # pyright: ignore[reportArgumentType]
"""`out_axes` of `jax.vmap` that leave time in front, as the rollout's loop produces it: moving
it behind the rollouts would copy all features."""


def imagine(
    model: Dreamer,
    slow_value: TwoHotHead,
    start: Latent,
    length: int,
    *,
    kept: jnp.dtype | None = None,
    key: PRNGKeyArray,
) -> Imagined:
    """Roll out policy and prior from one state, with predictions on the way.

    Args:
        model: Networks.
        slow_value: Moving average of the value head.
        start: State s_0.
        length: Number H of steps.
        kept: Dtype in which the features are kept; their own if it is None.
        key: Random key.
    """
    model, slow_value, start = jax.lax.stop_gradient((model, slow_value, start))
    learned = (model.policy, model.value)
    others = (model.reward, model.cont, slow_value)
    width = sum(head.mlp.layers[0].linear.bias.size for head in learned)

    def look(feat):
        first = first_layers((*learned, *others), feat)
        policy, _ = apply_heads(learned, feat, first=first[:width])
        reward, cont, slow = apply_heads(others, feat, first=first[width:])
        return policy, first[:width], Predictions(reward.mean(), cont.prob(), slow.mean())

    def step(latent, key):
        action_key, latent_key = jr.split(key)
        feat = latent.feat()
        policy, first, predicted = look(feat)
        action = policy.sample(action_key)
        latent = model.rssm.imagine(latent, model.policy.encode(action), key=latent_key)
        return latent, (_as_bits(feat.astype(kept or feat.dtype)), first, action, predicted)

    keys, unroll = jr.split(key, length), model.rssm.forms.unroll_of(length)
    last, (bits, first, action, predicted) = jax.lax.scan(step, start, keys, unroll=unroll)
    last = last.feat()
    feat = jax.lax.bitcast_convert_type(bits, kept or last.dtype)
    _, _, final = look(last)
    predicted = jax.tree.map(lambda xs, x: jnp.append(xs, x), predicted, final)
    return Imagined(feat, first, action, last, predicted)


def _as_bits(x: Float[Array, " size"]) -> Shaped[Array, " size"]:
    """View half precision as integers.

    XLA's CPU loops would write it through a float32 copy of what all steps wrote.
    """
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype.itemsize == 2 else x
