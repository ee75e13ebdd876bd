"""Lambda-returns and their normalisation (Hafner et al., 2025, "Critic learning")."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..config import ActorCriticConfig


def lambda_returns(
    reward: Float[Array, " time"],
    discount: Float[Array, " time"],
    bootstrap: Float[Array, " time"],
    trace: Float[Array, " time"],
    *,
    parallel: bool = False,
) -> Float[Array, " time"]:
    """Mix n-step returns of all lengths with geometric weights.

    `R_t = r_{t+1} + d_{t+1} ((1 - l_{t+1}) b_{t+1} + l_{t+1} R_{t+1})`, and beyond the last
    step `R = b`. With a trace l of 0 this is the one-step target, with 1 the Monte Carlo
    return.

    Args:
        reward: Rewards r of steps 1 to T, in this order.
        discount: Discounts d of steps 1 to T: the weight of what follows each of them.
        bootstrap: Value estimates b of steps 1 to T.
        trace: Traces l of steps 1 to T, in [0, 1].
        parallel: Whether all steps are computed together, in log T rounds, instead of one after
            the other. Results differ by rounding.

    Returns:
        Returns of steps 0 to T - 1.
    """
    if parallel:  # each return is a linear function of a later one, and so are compositions
        lines = (reward + discount * (1 - trace) * bootstrap, discount * trace)
        offset, slope = jax.lax.associative_scan(_compose, lines, reverse=True)
        return offset + slope * bootstrap[-1]

    def step(following, inputs):
        reward, discount, bootstrap, trace = inputs
        mixed = (1 - trace) * bootstrap + trace * following
        value = reward + discount * mixed
        return value, value

    inputs = (reward, discount, bootstrap, trace)
    return jax.lax.scan(step, bootstrap[-1], inputs, reverse=True)[1]


def _compose(inner: tuple[Array, Array], outer: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return offset and slope of one linear function of another."""
    return outer[0] + outer[1] * inner[0], outer[1] * inner[1]


class ReturnNorm(eqx.Module):
    """Moving percentiles of the returns, whose distance scales the advantages.

    Starts at zero without bias correction; the scale never falls below a limit, so that
    small returns are not blown up.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]

    def __init__(self):
        self.low = jnp.zeros(())
        self.high = jnp.zeros(())

    def update(self, returns: Float[Array, "..."], config: ActorCriticConfig) -> "ReturnNorm":
        """Move towards the percentiles of these returns."""
        quantiles = jnp.array(config.return_percentiles, self.low.dtype)
        target = jnp.percentile(jax.lax.stop_gradient(returns), quantiles)
        rate = config.return_rate
        return eqx.tree_at(
            lambda norm: (norm.low, norm.high),
            self,
            (
                (1 - rate) * self.low + rate * target[0],
                (1 - rate) * self.high + rate * target[1],
            ),
        )

    def scale(self, config: ActorCriticConfig) -> Float[Array, ""]:
        """Return the scale that advantages are divided by."""
        return jnp.maximum(self.high - self.low, config.return_limit)
