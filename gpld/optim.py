"""The optimiser of DreamerV3, as optax transformations.

Adaptive gradient clipping, then LaProp (Ziyin et al., 2020): gradients are divided by
their root mean square first and averaged afterwards, the reverse of Adam.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from .config import OptimizerConfig


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

        norms, scales = scaled_norms((updates, params))

        def limit(grad, norm, scale, param_norm, param_scale):
            allowed = clip * jnp.maximum(param_norm / param_scale, min_norm)
            return scale * grad / jnp.maximum(scale, norm / allowed)

        columns = zip(norms, scales, strict=True)
        return jax.tree.map(limit, updates, *(tree for pair in columns for tree in pair)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scaled_norms(tree: PyTree) -> tuple[PyTree, PyTree]:
    """Compute Euclidean norms of arrays that were scaled so that no sum of squares overflows.

    Returns:
        Norms of the scaled arrays; their scales, powers of two. Where no sum overflows the scales
        are 1, and the norms bit for bit `jnp.linalg.norm` of each array as one vector.
    """
    plain = jax.tree.map(_norm, tree)
    finite = jax.tree.map(jnp.isfinite, plain)
    scales = jax.tree.map(lambda x, fine: jnp.where(fine, 1, _tiny(x.dtype)), tree, finite)

    def again():
        return jax.tree.map(lambda x, scale: _norm(scale * x), tree, scales)

    # One branch for all, which is not taken: each array is read once.
    all_finite = jnp.all(jnp.stack(jax.tree.leaves(finite)))
    return jax.lax.cond(all_finite, lambda: plain, again), scales


def norm(x: Float[Array, " size"]) -> Float[Array, ""]:
    """Compute the Euclidean norm of a vector, also where the sum of its squares overflows."""
    scaled, scale = scaled_norms(x)
    return scaled / scale


def _norm(x: Float[Array, "..."]) -> Float[Array, ""]:
    return jnp.linalg.norm(x.reshape(-1))


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
