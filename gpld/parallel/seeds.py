"""Several seeds in one program: their agents are stacked along a leading axis."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from .devices import Placement, local, put, shard_of


class SeedAxis:
    """The leading axis along which agents, and what they act and learn on, are stacked.

    With one agent there is no such axis, so that its programs are those of the agent alone.
    """

    def __init__(self, size: int = 1, placement: Placement = Placement()):  # noqa: B008
        """Describe the axis.

        Args:
            size: Number of agents.
            placement: Their devices.
        """
        self.size, self.placement = size, placement

    def stack(self, trees: Sequence[PyTree]) -> PyTree:
        """Stack one tree per agent."""
        if self.size == 1:
            return trees[0]

        if all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(trees[0])):
            return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
        return _stack(trees)

    def unstack(self, tree: PyTree) -> list[PyTree]:
        """Split a stacked tree of traced or host arrays into one per agent."""
        if self.size == 1:
            return [tree]
        leaves, structure = jax.tree.flatten(tree)
        return [structure.unflatten(x[i] for x in leaves) for i in range(self.size)]

    def take(self, tree: PyTree, index: int) -> PyTree:
        """Return one agent's part of arrays on the devices."""
        tree, place = self.find(tree, index)
        return tree if place is None else _select(tree, jnp.asarray(place))

    def find(self, tree: PyTree, index: int) -> tuple[PyTree, int | None]:
        """Return the arrays of one device that hold an agent's part, and its place in them.

        Nothing is copied. The place is None where they hold nothing else.
        """
        return (local(tree), None) if self.size == 1 else shard_of(tree, index)

    def vmap(self, fn: Callable, *, shared: Sequence[int] = ()) -> Callable:
        """Map a function of one agent over all of them.

        Args:
            fn: The function.
            shared: Positions of the arguments that are the same for all agents.
        """
        if self.size == 1:
            return fn

        def mapped(*args):
            axes = tuple(None if i in shared else eqx.if_array(0) for i in range(len(args)))
            return eqx.filter_vmap(fn, in_axes=axes)(*args)

        return mapped

    def put(self, tree: PyTree) -> PyTree:
        """Put stacked agents on their devices; inside of a program, keep them there."""
        return put(tree, self.placement.agents)

    def put_acting(self, tree: PyTree) -> PyTree:
        """Put observations or policy states on the devices that act."""
        return put(tree, self.placement.acting)

    def actor(self, model: PyTree) -> PyTree:
        """Return the networks that act: one agent on several devices acts on the first."""
        unchanged = self.size > 1 or self.placement.agents is None
        return model if unchanged else local(model)


@jax.jit  # one program: leaf by leaf, each would be compiled by itself
def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def _select(tree: PyTree, index: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda x: x[index], tree)
