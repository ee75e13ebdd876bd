"""The optimiser of DreamerV3, as optax transformations.

Adaptive gradient clipping, then LaProp (Ziyin et al., 2020): gradients are divided by
their root mean square first and averaged afterwards, the reverse of Adam.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from .config import OptimizerConfig

# Tensors of at most so many numbers are stacked by their sizes.
_SMALL = 4096


def clip_by_tensor_norm(clip: float, min_norm: float = 1e-3) -> optax.GradientTransformation:
    """Limit each tensor's gradient norm to `clip` times the norm of the tensor.

    Unlike `optax.adaptive_grad_clip`, norms are taken over whole tensors, not over units.

    Args:
        clip: Largest ratio of the two norms.
        min_norm: Lower bound of the tensor's norm in that ratio.

    Raises:
        ValueError: In `update`, if it is not given the parameters.
    """

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("`params` must be given: the clipping is relative to them.")

        norms, scales = scaled_norms(updates)
        param_norms, param_scales = scaled_norms(params)
        allowed = clip * jnp.maximum(param_norms / param_scales, min_norm)
        limits = jnp.maximum(scales, norms / allowed)
        leaves, treedef = jax.tree.flatten(updates)
        limited = [scales[i] * grad / limits[i] for i, grad in enumerate(leaves)]
        return treedef.unflatten(limited), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scaled_norms(tree: PyTree) -> tuple[Float[Array, " tensor"], Float[Array, " tensor"]]:
    """Compute the Euclidean norms of all tensors, scaled so that no sum of squares overflows.

    Returns:
        In the order of `jax.tree.leaves`: norms of the scaled tensors, which are finite if the
        tensors are; their scales, powers of two, which are 1 where no sum overflows.
    """
    vectors = [x.reshape(-1) for x in jax.tree.leaves(tree)]
    # Programs with a sum for each of many small tensors compile slowly, and run so on GPUs.
    groups: dict[int, list[int]] = {}
    for i, x in enumerate(vectors):
        groups.setdefault(x.size if x.size <= _SMALL else -i, []).append(i)
    stacks = [jnp.stack([vectors[i] for i in group]) for group in groups.values()]
    places = np.cumsum([len(x) for x in stacks])[:-1]
    order = np.argsort(np.concatenate(list(groups.values())))
    ones = jnp.ones(len(vectors), jnp.result_type(*vectors))

    def norms(scales: Float[Array, " tensor"]) -> Float[Array, " tensor"]:
        parts = zip(stacks, jnp.split(scales, places), strict=True)
        return jnp.concatenate([jnp.linalg.norm(y[:, None] * x, axis=1) for x, y in parts])

    plain = norms(ones)
    finite = jnp.isfinite(plain)
    scales = jnp.where(finite, ones, _tiny(ones.dtype))
    # The second branch is hardly ever taken: each tensor is read once.
    scaled = jax.lax.cond(jnp.all(finite), lambda: plain, lambda: norms(scales))
    return scaled[order], scales[order]


def norm(tree: PyTree) -> Float[Array, ""]:
    """Compute the Euclidean norm of all tensors as one, also where a sum of squares overflows."""
    norms, scales = scaled_norms(tree)
    norms, scales = scaled_norms(norms / scales)
    return (norms / scales)[0]


def _tiny(dtype: jnp.dtype) -> Float[Array, ""]:
    """Return a power of two that makes all squares, and sums of them, representable.

    Numbers that underflow when scaled are nothing beside one whose square overflowed.
    """
    return jnp.asarray(2.0 ** (-3 * int(jnp.finfo(dtype).maxexp) // 4), dtype)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Make the optimiser that the settings describe.

    The learning rate of the very first update is 0 when there is a warm-up; the moments
    accumulate all the same.
    """
    schedule = optax.constant_schedule(config.learning_rate)
    if config.warmup > 0:
        schedule = optax.linear_schedule(0.0, config.learning_rate, config.warmup)
    laprop = optax.chain(
        optax.scale_by_rms(config.beta2, config.eps, eps_in_sqrt=False, bias_correction=True),
        optax.ema(config.beta1, debias=True),
    )
    return optax.chain(
        clip_by_tensor_norm(config.clip),
        # One long vector: a program with a loop for each of many tensors compiles slowly.
        optax.flatten(laprop),
        optax.add_decayed_weights(config.weight_decay, mask=_kernels),
        optax.scale_by_learning_rate(schedule),
    )


def _kernels(params):
    """Mark the kernels of `params`, which alone decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "name", None) == "kernel", params
    )
