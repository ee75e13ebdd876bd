"""Random keys of JAX as the numbers that they are made of, to be stored."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PyTree, Shaped


def without_keys(tree: PyTree) -> PyTree:
    """Replace random keys by the numbers that they are made of."""
    return jax.tree.map(lambda x: jr.key_data(x) if is_key(x) else x, tree)


def with_keys(tree: PyTree, like: PyTree) -> PyTree:
    """Put arrays on the device; make random keys again where `like` has them."""

    def restore(old, x):
        x = jnp.asarray(x)
        return jr.wrap_key_data(x, impl=jr.key_impl(old)) if is_key(old) else x

    return jax.tree.map(restore, like, tree)


def named(tree: PyTree) -> dict[str, Shaped[jax.Array | jax.ShapeDtypeStruct, "..."]]:
    """Return arrays by their place in a tree."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def is_key(x: Shaped[jax.Array | jax.ShapeDtypeStruct, "..."]) -> bool:
    """Return whether an array is one of random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
