"""Distributions of DreamerV3's latent state, actions, rewards and values.

Each object describes one event and raises its parameters to float32 on construction;
`jax.vmap` over functions that build or use them gives batches.
"""

import math
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from .layers import at_least_float32


def symlog(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Symmetric logarithm, `sign(x) ln(1 + |x|)`; the inverse of `symexp`."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Symmetric exponential, `sign(x) (exp(|x|) - 1)`; the inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def unimix_softmax(
    logits: Float[Array, "*batch classes"], unimix: float
) -> Float[Array, "*batch classes"]:
    """`(1 - unimix) softmax(logits) + unimix / classes`, in float32."""
    probs = jax.nn.softmax(at_least_float32(logits))
    return (1 - unimix) * probs + unimix / logits.shape[-1]


class OneHotCategorical(eqx.Module):
    """A vector of `rows` independent categoricals, mixed with the uniform distribution.

    The probabilities are `unimix_softmax(logits)`. Entropy and KL are summed over rows.
    """

    probs: Float[Array, "rows classes"]

    def __init__(self, logits: Float[Array, "rows classes"], unimix: float):
        """Take the softmax of logits and mix it.

        Args:
            logits: Unnormalised logarithms of the probabilities before the mixture.
            unimix: Share of the uniform distribution, in [0, 1).
        """
        self.probs = unimix_softmax(logits, unimix)

    def sample(self, key: PRNGKeyArray) -> Float[Array, "rows classes"]:
        """One-hot sample whose gradient is that of the probabilities.

        One uniform number per row inverts the cumulative distribution: the law is that of the
        Gumbel maximum, which needs a random number for every class.
        """
        cumulative = jnp.cumsum(jax.lax.stop_gradient(self.probs), axis=-1)
        uniform = jr.uniform(key, (self.probs.shape[0], 1), self.probs.dtype)
        # The last entry is 1 up to rounding and is left out, so the index is in range.
        index = jnp.sum(uniform >= cumulative[:, :-1], axis=-1)
        return self._straight_through(index)

    def mode(self) -> Float[Array, "rows classes"]:
        """One-hot of the likeliest class, with the gradient of the probabilities."""
        return self._straight_through(jnp.argmax(self.probs, axis=-1))

    def _straight_through(self, index: Int[Array, " rows"]) -> Float[Array, "rows classes"]:
        one_hot = jax.nn.one_hot(index, self.probs.shape[-1], dtype=self.probs.dtype)
        return one_hot + (self.probs - jax.lax.stop_gradient(self.probs))

    def entropy(self) -> Float[Array, ""]:
        """Entropy in nats, summed over rows."""
        return -jnp.sum(self.probs * jnp.log(self.probs))

    def kl(self, other: "OneHotCategorical") -> Float[Array, ""]:
        """KL(self || other) in nats, summed over rows."""
        ratio = jnp.log(self.probs) - jnp.log(other.probs)
        return jnp.sum(self.probs * ratio)


class BoundedNormal(eqx.Module):
    """Diagonal normal with mean in (-1, 1) and standard deviation in (0.1, 1).

    Samples are neither clipped nor squashed: `log_prob` is the plain Gaussian density.
    Log-probability and entropy are summed over the action axis.
    """

    mean: Float[Array, " action"]
    std: Float[Array, " action"]

    def __init__(
        self,
        raw_mean: Float[Array, " action"],
        raw_std: Float[Array, " action"],
        *,
        min_std: float = 0.1,
        max_std: float = 1.0,
    ):
        """Bound raw network outputs: tanh for the mean, a shifted sigmoid for the std."""
        std = (max_std - min_std) * jax.nn.sigmoid(raw_std + 2.0) + min_std
        self.mean = at_least_float32(jnp.tanh(raw_mean))
        self.std = at_least_float32(std)

    def sample(self, key: PRNGKeyArray) -> Float[Array, " action"]:
        """A reparametrised sample."""
        return self.mean + self.std * jr.normal(key, self.mean.shape, self.mean.dtype)

    def log_prob(self, x: Float[Array, " action"]) -> Float[Array, ""]:
        """Log-density in nats."""
        z = (x - self.mean) / self.std
        log_density = -0.5 * jnp.square(z) - jnp.log(self.std)
        return jnp.sum(log_density - 0.5 * math.log(2 * math.pi))

    def mode(self) -> Float[Array, " action"]:
        """The likeliest action."""
        return self.mean

    def entropy(self) -> Float[Array, ""]:
        """Differential entropy in nats."""
        constant = 0.5 * math.log(2 * math.pi) + 0.5
        return jnp.sum(jnp.log(self.std) + constant)


class Categorical(eqx.Module):
    """One of several classes, by its number: a discrete action. Nothing is mixed in.

    Samples and mode are int32 and have no gradient. Where a logit is NaN they are -1, the
    number of no class, so that what they choose does not pass for a choice.
    """

    logits: Float[Array, " classes"]

    def __init__(self, logits: Float[Array, " classes"]):
        self.logits = at_least_float32(logits)

    def sample(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """Draw a class."""
        return self._checked(jr.categorical(key, self.logits))

    def mode(self) -> Int[Array, ""]:
        """The likeliest class."""
        return self._checked(jnp.argmax(self.logits))

    def _checked(self, index: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(jnp.any(jnp.isnan(self.logits)), -1, index).astype(jnp.int32)

    def log_prob(self, x: Int[Array, ""]) -> Float[Array, ""]:
        """Log-probability in nats."""
        return -cross_entropy(self.logits, x)

    def entropy(self) -> Float[Array, ""]:
        """Entropy in nats."""
        return -jnp.sum(jax.nn.softmax(self.logits) * jax.nn.log_softmax(self.logits))


@cache
def symexp_bins(num_bins: int = 255) -> np.ndarray:
    """Bin centres of the symexp two-hot distribution, float32, antisymmetric.

    `symexp(linspace(-20, 0))` and its mirror image, so the middle one is exactly zero.

    Raises:
        ValueError: If `num_bins` is even.
    """
    if num_bins % 2 == 0:
        raise ValueError(f"`num_bins` must be odd, got {num_bins}.")
    # f64: exp would amplify the rounding of a float32 grid.
    grid = np.linspace(-20, 0, num_bins // 2 + 1)
    half = -np.expm1(-grid).astype(np.float32)
    return np.concatenate([half, -half[:-1][::-1]])


class SymexpTwoHot(eqx.Module):
    """A scalar as a categorical over exponentially spaced bins (rewards and values)."""

    logits: Float[Array, " bins"]

    def __init__(self, logits: Float[Array, " bins"]):
        self.logits = at_least_float32(logits)

    def mean(self) -> Float[Array, ""]:
        """Expected value; exactly zero for uniform logits.

        Mirrored bins are paired, because the largest ones (4.9e8) would turn a rounding
        error of their probabilities into a value: `p_hi - p_lo` is computed as
        `(p_hi + p_lo) tanh((logit_hi - logit_lo) / 2)`, which is 0 for equal logits.
        """
        bins = symexp_bins(self.logits.shape[-1])
        middle = bins.size // 2
        logits, probs = self.logits, jax.nn.softmax(self.logits)
        total = probs[middle + 1 :] + probs[:middle][::-1]
        ratio = jnp.tanh((logits[middle + 1 :] - logits[:middle][::-1]) / 2)
        return jnp.sum(total * ratio * bins[middle + 1 :].astype(logits.dtype))

    def loss(self, target: Float[Array, ""]) -> Float[Array, ""]:
        """Cross-entropy with the two-hot encoding of `target`, in nats.

        The two bins around the target share the weight linearly in raw value space, not
        in symlog space; targets outside the bins fall on the nearest one. No gradient
        reaches the target.
        """
        bins = jnp.asarray(symexp_bins(self.logits.shape[-1]), self.logits.dtype)
        target = jax.lax.stop_gradient(target).astype(self.logits.dtype)
        target = jnp.clip(target, bins[0], bins[-1])
        below = jnp.minimum(jnp.sum(bins <= target) - 1, bins.size - 2)
        lower, upper = bins[below], bins[below + 1]
        weight = (upper - target) / (upper - lower)
        index = jnp.arange(bins.size)
        two_hot = jnp.where(index == below, weight, 0.0)
        two_hot = jnp.where(index == below + 1, 1 - weight, two_hot)
        return -jnp.sum(two_hot * jax.nn.log_softmax(self.logits))


class Binary(eqx.Module):
    """A Bernoulli variable that accepts soft targets (the continue flag)."""

    logit: Float[Array, ""]

    def __init__(self, logit: Float[Array, ""]):
        self.logit = at_least_float32(logit)

    def prob(self) -> Float[Array, ""]:
        """Probability of one."""
        return jax.nn.sigmoid(self.logit)

    def loss(self, target: Float[Array, ""] | Bool[Array, ""]) -> Float[Array, ""]:
        """Cross-entropy in nats with a target in [0, 1], which gets no gradient."""
        target = jax.lax.stop_gradient(target).astype(self.logit.dtype)
        on, off = jax.nn.log_sigmoid(self.logit), jax.nn.log_sigmoid(-self.logit)
        return -(target * on + (1 - target) * off)


def cross_entropy(
    logits: Float[Array, "*batch classes"], target: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Minus the log-probability of each target under `softmax(logits)`, in nats, elementwise."""
    log_probs = jax.nn.log_softmax(at_least_float32(logits))
    # Not by its index: the gradient would be a scatter, which is slow.
    return -jnp.sum(jax.nn.one_hot(target, logits.shape[-1], dtype=log_probs.dtype) * log_probs, -1)


def symlog_mse(
    prediction: Float[Array, "*batch"], target: Shaped[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Squared error in symlog space, `(prediction - symlog(target))^2`, elementwise."""
    target = jax.lax.stop_gradient(symlog(at_least_float32(target)))
    return jnp.square(at_least_float32(prediction) - target)
