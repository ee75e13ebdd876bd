"""The optimiser of DreamerV3, as optax transformations.

Adaptive gradient clipping, then LaProp (Ziyin et al., 2020): gradients are divided by
their root mean square first and averaged afterwards, the reverse of Adam.
"""

import jax
import jax.numpy as jnp
import optax

from .config import OptimizerConfig


def clip_by_tensor_norm(clip: float, min_norm: float = 1e-3) -> optax.GradientTransformation:
    """Limits each tensor's gradient norm to `clip` times the norm of the tensor.

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

        def limit(grad, param):
            allowed = clip * jnp.maximum(jnp.linalg.norm(param.reshape(-1)), min_norm)
            return grad / jnp.maximum(1.0, jnp.linalg.norm(grad.reshape(-1)) / allowed)

        return jax.tree.map(limit, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimiser that the settings describe.

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
    """True for the kernels of `params`, which alone decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "name", None) == "kernel", params
    )
