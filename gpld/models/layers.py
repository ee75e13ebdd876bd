"""Layers of DreamerV3 (Hafner et al., 2025, "Mastering diverse control tasks").

Parameters are float32; every layer computes in the dtype of its input, so the
precision of a forward pass is chosen where its inputs are cast. All layers are
written for one sample: batch them with `jax.vmap`.
"""

import functools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped


def at_least_float32(x: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Raise half precision and integers to float32; keep float32 and float64."""
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def truncated_normal_init(
    key: PRNGKeyArray, shape: tuple[int, ...], scale: float = 1.0
) -> Float[Array, "..."]:
    """Draw a kernel from a normal truncated at two standard deviations.

    The variance is `scale**2 / fan_in`. All axes but the last count as fan-in, also
    the leading block axis of a block-linear kernel, whose weights are therefore
    sqrt(blocks) smaller than a fan-in per block would make them.

    Args:
        key: Random key.
        shape: Kernel shape, `(..., inputs, outputs)`.
        scale: Multiplies the standard deviation; 0 gives a zero kernel.

    Returns:
        A float32 kernel (of the default float dtype) of that shape.
    """
    # The truncated normal has standard deviation 0.87962566, undone by 1.1368.
    stddev = 1.1368 * scale / math.sqrt(math.prod(shape[:-1]))
    return stddev * jr.truncated_normal(key, -2.0, 2.0, shape)


class Linear(eqx.Module):
    """Affine map with the kernel stored as `[inputs, outputs]`."""

    kernel: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, scale: float = 1.0, key: PRNGKeyArray):
        self.kernel = truncated_normal_init(key, (inputs, outputs), scale)
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """`x @ kernel + bias`."""
        return x @ self.kernel.astype(x.dtype) + self.bias.astype(x.dtype)


def shared_input(linears: Sequence[Linear], x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
    """Apply several affine maps to one input, one behind the other, in one product.

    Wide products are faster than narrow ones.
    """
    kernel, bias = _side_by_side(linears)
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


def recalled(
    linears: Sequence[Linear], x: Shaped[Array, " inputs"], y: Float[Array, " outputs"]
) -> Float[Array, " outputs"]:
    """Return a kept `y = shared_input(linears, x)` with its derivative by the parameters.

    Only the derivative is computed. There is none by `x`.
    """
    return _recalled(*_side_by_side(linears), x, y)


def split(linears: Sequence[Linear], y: Float[Array, " outputs"]) -> list[Float[Array, " _"]]:
    """Split the result of `shared_input` into the parts of each affine map."""
    return jnp.split(y, np.cumsum([linear.bias.size for linear in linears])[:-1])


def _side_by_side(linears):
    kernel = jnp.concatenate([linear.kernel for linear in linears], axis=1)
    return kernel, jnp.concatenate([linear.bias for linear in linears])


@jax.custom_jvp
def _recalled(kernel, bias, x, y):
    return y


@_recalled.defjvp
def _recalled_jvp(primals, tangents):
    (_, _, x, y), (kernel, bias, _, _) = primals, tangents
    return y, x.astype(y.dtype) @ kernel.astype(y.dtype) + bias.astype(y.dtype)


# The two functions below state their derivatives, which JAX would find by itself, in the
# form that costs least where many tangents or cotangents meet one input: what does not
# depend on them is one factor. The penalty has as many as there are rows.


@jax.custom_jvp
def silu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """`x sigmoid(x)`."""
    return x * jax.nn.sigmoid(x)


@silu.defjvp
def _silu_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    gate = jax.nn.sigmoid(x)
    return x * gate, (gate + x * gate * (1 - gate)) * tangent


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def normalise(x: Float[Array, " size"], eps: float) -> Float[Array, " size"]:
    """`x / sqrt(mean(x^2) + eps)`."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x)) + eps)


@normalise.defjvp
def _normalise_jvp(eps, primals, tangents):
    (x,), (tangent,) = primals, tangents
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x)) + eps)
    y = x * inverse
    return y, inverse * tangent - y * (inverse * jnp.mean(y * tangent))


class RMSNorm(eqx.Module):
    """Division by the root mean square, then a learned scale; no shift."""

    scale: Float[Array, " size"]
    eps: float = eqx.field(static=True)

    def __init__(self, size: int, *, eps: float = 1e-4):
        self.scale = jnp.ones(size)
        self.eps = eps

    def __call__(self, x: Float[Array, " size"]) -> Float[Array, " size"]:
        """`x / sqrt(mean(x^2) + eps) * scale`."""
        y = at_least_float32(x)  # f32: the mean of squares loses most digits in bf16
        return (normalise(y, self.eps) * self.scale).astype(x.dtype)


class Hidden(eqx.Module):
    """Hidden layer: Linear, then RMSNorm, then SiLU."""

    linear: Linear
    norm: RMSNorm

    def __init__(self, inputs: int, units: int, *, key: PRNGKeyArray):
        self.linear = Linear(inputs, units, key=key)
        self.norm = RMSNorm(units)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " units"]:
        """`silu(norm(linear(x)))`."""
        return self.activate(self.linear(x))

    def activate(self, y: Float[Array, " units"]) -> Float[Array, " units"]:
        """Normalise and activate the affine map's output: `silu(norm(y))`."""
        return silu(self.norm(y))


class MLP(eqx.Module):
    """A chain of hidden layers of equal width; output layers are kept apart."""

    layers: tuple[Hidden, ...]

    def __init__(self, inputs: int, units: int, num_layers: int, *, key: PRNGKeyArray):
        sizes = [inputs] + [units] * num_layers
        keys = jr.split(key, num_layers)
        self.layers = tuple(
            Hidden(i, o, key=k) for i, o, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " units"]:
        """Apply all layers in turn."""
        return self.trunk(self.layers[0].linear(x))

    def trunk(self, y: Float[Array, " units"]) -> Float[Array, " units"]:
        """Apply everything after the affine map of the first layer."""
        x = self.layers[0].activate(y)
        for layer in self.layers[1:]:
            x = layer(x)
        return x
