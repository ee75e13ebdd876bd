"""Functions of single states over all states of a batch, a few at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, PyTree, Shaped

NUM_STATES = 64
"""States at a time: what convolutions make of so many pictures stays near the processor."""

_KEPT = "kept"


def keep(x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Mark a value that derivatives keep of each state, because computing it again takes long."""
    return checkpoint_name(x, _KEPT)


def map_states(function: Callable[..., Any], *args: PyTree, in_chunks: bool) -> PyTree:
    """Map a function of single states over batch and time.

    In chunks, intermediate values never exist for all states at once: derivatives keep the
    arguments and what `keep` marks, and compute the rest again. On a CPU
    pictures take less than half of the memory in this way, and time that is hardly more, because
    what was computed a moment ago is still in the caches. A GPU wants all states at once.

    Args:
        function: Of the arguments of one state.
        args: Trees of arrays, `[batch, time, ...]`.
        in_chunks: Whether to take `NUM_STATES` at a time.

    Returns:
        Results, `[batch, time, ...]`.
    """
    if not in_chunks:
        return jax.vmap(jax.vmap(function))(*args)
    shape = jax.tree.leaves(args)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), args)
    # A loop keeps XLA from taking what is computed again from the first time.
    once_more = jax.checkpoint(
        lambda args: function(*args),
        prevent_cse=False,
        policy=jax.checkpoint_policies.save_only_these_names(_KEPT),
    )
    results = jax.lax.map(once_more, flat, batch_size=NUM_STATES)
    return jax.tree.map(lambda x: jnp.reshape(x, (*shape, *x.shape[1:])), results)
