"""Layers of DreamerV3 (Hafner et al., 2025, "Mastering diverse control tasks").

Parameters are float32; every layer computes in the dtype of its input, so the
precision of a forward pass is chosen where its inputs are cast. All layers are
written for one sample: batch them with `jax.vmap`.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped


def at_least_float32(x: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Raises half precision and integers to float32; keeps float32 and float64."""
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def truncated_normal_init(
    key: PRNGKeyArray, shape: tuple[int, ...], scale: float = 1.0
) -> Float[Array, "..."]:
    """Kernel drawn from a normal truncated at two standard deviations.

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


class BlockLinear(eqx.Module):
    """Block-diagonal affine map whose blocks may all see one more, shared input.

    Block g computes `concat(x[g], shared) @ kernel[g] + bias[g]`. The shared input is
    multiplied with all blocks in one product instead of being repeated for each.
    """

    kernel: Float[Array, "blocks inputs outputs"]
    bias: Float[Array, " blocks*outputs"]

    def __init__(
        self,
        blocks: int,
        inputs: int,
        outputs: int,
        *,
        shared: int = 0,
        key: PRNGKeyArray,
    ):
        """Initialises the map.

        Args:
            blocks: Number of blocks.
            inputs: Width of one block's own input.
            outputs: Width of one block's output.
            shared: Width of the input that every block sees, after its own.
            key: Random key.
        """
        shape = (blocks, inputs + shared, outputs)
        self.kernel = truncated_normal_init(key, shape)
        self.bias = jnp.zeros(blocks * outputs)

    def __call__(
        self,
        x: Float[Array, "blocks inputs"],
        shared: Float[Array, " shared"] | None = None,
    ) -> Float[Array, "blocks outputs"]:
        """One output per block, from the block's own input and the shared one."""
        kernel = self.kernel.astype(x.dtype)
        bias = self.bias.astype(x.dtype).reshape(kernel.shape[0], -1)
        own = x.shape[1]
        y = jnp.einsum("gi,gio->go", x, kernel[:, :own])
        if shared is not None:
            y = y + jnp.einsum("i,gio->go", shared, kernel[:, own:])
        return y + bias


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
        """What follows the affine map: `silu(norm(y))`."""
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
        """All layers in turn."""
        return self.trunk(self.layers[0].linear(x))

    def trunk(self, y: Float[Array, " units"]) -> Float[Array, " units"]:
        """What follows the affine map of the first layer."""
        x = self.layers[0].activate(y)
        for layer in self.layers[1:]:
            x = layer(x)
        return x
