"""Block-diagonal layers: the same small layer for every block of a vector, with own weights."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .forms import BlockForm
from .layers import RMSNorm, at_least_float32, truncated_normal_init

Blocks = Float[Array, "blocks _"] | list[Float[Array, " _"]]
"""One vector for each block: rows of an array, or a list where blocks are kept separate."""


def each_block(fn: Callable[..., Any], *args: Any, form: BlockForm) -> Any:
    """Apply a function to every block.

    Args:
        fn: Function of one block.
        args: Arrays with a leading axis of blocks, or lists of what belongs to each block.
        form: batched: results have a leading axis. separate: they are lists.
    """
    if form == "batched":
        return jax.vmap(fn)(*args)
    blocks = zip(*(x if isinstance(x, list) else jnp.unstack(x) for x in args), strict=True)
    return [fn(*block) for block in blocks]


class BlockLinear(eqx.Module):
    """Block-diagonal affine map whose blocks may all see one more, shared input.

    Block g computes `concat(x[g], shared) @ kernel[g] + bias[g]`. The shared input is
    multiplied with all blocks in one product instead of being repeated for each.
    """

    kernel: Float[Array, "blocks inputs outputs"]
    bias: Float[Array, " blocks*outputs"]
    form: BlockForm = eqx.field(static=True)

    def __init__(
        self,
        blocks: int,
        inputs: int,
        outputs: int,
        *,
        shared: int = 0,
        form: BlockForm = "batched",
        key: PRNGKeyArray,
    ):
        """Initialise the map.

        Args:
            blocks: Number of blocks.
            inputs: Width of one block's own input.
            outputs: Width of one block's output.
            shared: Width of the input that every block sees, after its own.
            form: How the products of the blocks are taken.
            key: Random key.
        """
        shape = (blocks, inputs + shared, outputs)
        self.kernel = truncated_normal_init(key, shape)
        self.bias = jnp.zeros(blocks * outputs)
        self.form = form

    def __call__(self, x: Blocks, shared: Float[Array, " shared"] | None = None) -> Blocks:
        """Return one output per block, from the block's own input and the shared one."""
        kernel = self.kernel.astype(x[0].dtype)
        blocks, _, outputs = kernel.shape
        offset = self.bias.astype(x[0].dtype)
        own = x[0].shape[0]
        if shared is not None:
            offset = shared @ jnp.swapaxes(kernel[:, own:], 0, 1).reshape(-1, offset.size) + offset
        return each_block(
            lambda x, kernel, offset: x @ kernel + offset,
            x,
            kernel[:, :own],
            offset.reshape(blocks, outputs),
            form=self.form,
        )


def normalise_blocks(norm: RMSNorm, x: Blocks, *, form: BlockForm) -> Blocks:
    """Normalise a vector that is given by its blocks."""

    def mean_square(x):
        return jnp.mean(jnp.square(at_least_float32(x)))

    def scaled(x, scale):
        return (at_least_float32(x) * inverse * scale).astype(x.dtype)

    squares = jnp.asarray(each_block(mean_square, x, form=form))
    inverse = jax.lax.rsqrt(jnp.mean(squares) + norm.eps)
    return each_block(scaled, x, norm.scale.reshape(squares.size, -1), form=form)
