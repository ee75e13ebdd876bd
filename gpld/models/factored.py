"""Maps to a table of rows that begin with an affine layer."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .layers import Linear


class FactoredMap(eqx.Module):
    """A map from vectors to a table of rows, in the parts that its Jacobian factors into.

        y = first(u)                affine, from the concatenated inputs u
        x = trunk(y)                whatever the rows share
        row_i = output(out(x)[i])   affine, then what belongs to row i alone

    Calling it gives the table. The Jacobian of a row is that of what follows `first`, times
    the kernel of `first`, which `gpld.losses.gram_penalty` makes use of.
    """

    first: Linear
    trunk: Callable[[Float[Array, " pre"]], Float[Array, " hidden"]]
    out: Linear
    """Its outputs are those of all rows, one row after the other."""

    output: Callable[[Float[Array, " classes"]], Float[Array, " classes"]]
    rows: int = eqx.field(static=True)

    def __call__(self, *inputs: Float[Array, " _"]) -> Float[Array, "rows classes"]:
        """Compute the table at some inputs, which are concatenated."""
        return self.tail(self.project(*inputs))

    def project(self, *inputs: Float[Array, " _"]) -> Float[Array, " pre"]:
        """Apply the affine part."""
        return self.first(jnp.concatenate(inputs))

    def tail(self, y: Float[Array, " pre"]) -> Float[Array, "rows classes"]:
        """Apply everything after the affine part."""
        return jax.vmap(self.output)(self.out(self.trunk(y)).reshape(self.rows, -1))

    def heads(self) -> Linear:
        """Split the output layer by rows.

        Returns:
            Kernels `[rows, hidden, classes]` and biases `[rows, classes]`.
        """
        hidden, size = self.out.kernel.shape
        kernel = self.out.kernel.reshape(hidden, self.rows, size // self.rows)
        return self._out(kernel.swapaxes(0, 1), self.out.bias.reshape(self.rows, -1))

    def select(self, rows: Int[Array, " selected"]) -> "FactoredMap":
        """Restrict the map to some of the rows."""
        heads = jax.tree.map(lambda x: x[rows], self.heads())
        kernel = heads.kernel.swapaxes(0, 1).reshape(self.out.kernel.shape[0], -1)
        out = self._out(kernel, heads.bias.reshape(-1))
        return FactoredMap(self.first, self.trunk, out, self.output, rows.size)

    def flatten(self) -> "FactoredMap":
        """Turn the map into one to a table of a single row, which holds all rows."""

        def output(logits):
            return jax.vmap(self.output)(logits.reshape(self.rows, -1)).reshape(-1)

        return FactoredMap(self.first, self.trunk, self.out, output, 1)

    def _out(self, kernel: Float[Array, "..."], bias: Float[Array, "..."]) -> Linear:
        return eqx.tree_at(lambda out: (out.kernel, out.bias), self.out, (kernel, bias))
