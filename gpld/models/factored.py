"""Maps to a table of rows that begin with an affine layer."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .layers import Linear


class FactoredMap(eqx.Module):
    """A map from vectors to a table of rows, in the parts that its Jacobian factors into.

        y = first(u)              affine, from the concatenated inputs u
        x = trunk(y)              whatever the rows share
        row_i = output(head_i(x)) what belongs to row i alone

    Calling it gives the table. The Jacobian of a row is that of `output(head_i(trunk(.)))`
    times the kernel of `first`, which `gpld.losses.gram_penalty` makes use of.
    """

    first: Linear
    trunk: Callable[[Float[Array, " pre"]], Float[Array, " hidden"]]
    heads: Linear
    """One output layer for each row: kernels `[rows, hidden, classes]`, biases
    `[rows, classes]`."""

    output: Callable[[Float[Array, " classes"]], Float[Array, " classes"]]

    def __call__(self, *inputs: Float[Array, " _"]) -> Float[Array, "rows classes"]:
        """The table at some inputs, which are concatenated."""
        return self.tail(self.project(*inputs))

    def project(self, *inputs: Float[Array, " _"]) -> Float[Array, " pre"]:
        """The affine part."""
        return self.first(jnp.concatenate(inputs))

    def tail(self, y: Float[Array, " pre"]) -> Float[Array, "rows classes"]:
        """Everything after the affine part."""
        x = self.trunk(y)
        return jax.vmap(lambda head: self.output(head(x)))(self.heads)

    def select(self, rows: Int[Array, " selected"]) -> "FactoredMap":
        """The same map to some of the rows."""
        heads = jax.tree.map(lambda x: x[rows], self.heads)
        return eqx.tree_at(lambda fn: fn.heads, self, heads)
