"""The agent as a state and three pure functions over it: `init`, `act` and `update`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from .config import Config
from .envs.timestep import RESERVED
from .losses import Batch, LossOutput, ReturnNorm, make_loss, smoothness_report
from .models import NO_CLASSES, Dreamer, Forms, Latent, NumClasses, StoredLatent, TwoHotHead
from .optim import make_optimizer, norm
from .xla.optimise import Choices, choose, full_products, optimise


class AgentState(eqx.Module):
    """Everything that training changes: networks, optimiser, moving averages, count of updates."""

    model: Dreamer
    slow_value: TwoHotHead
    """Moving average of the value head, towards which that is regularised."""

    return_norm: ReturnNorm
    opt_state: optax.OptState
    update: Int[Array, ""]
    """Updates completed, the skipped ones included."""


class PolicyState(NamedTuple):
    """State of the policy between two env steps, per environment."""

    latent: Latent
    action: Float[Array, "*batch action"] | Int[Array, "*batch"]


def choices(config: Config) -> Choices:
    """Choose how an agent with these settings is computed on this machine."""
    shared = config.seeds == 1 and max(config.devices, config.distributed.processes) > 1
    return choose(config.precision, rewrite=config.compute.rewrite, shared_batches=shared)


def init(
    config: Config,
    shapes: Mapping[str, tuple[int, ...]],
    action_size: int,
    *,
    discrete: bool = False,
    num_classes: NumClasses = NO_CLASSES,
    key: PRNGKeyArray,
) -> AgentState:
    """Make a new agent; `EnvSpec.sizes` has its arguments for a task.

    Args:
        config: Settings.
        shapes: Shape of each observation by its key, without batch axes.
        action_size: Number of action dimensions, or of actions if they are discrete.
        discrete: Whether an action is an integer in [0, action_size).
        num_classes: Number of classes of each categorical observation by its key.
        key: Random key.

    Raises:
        ValueError: If an observation has more than three axes, or the name of a loss or of
            another stored array.
    """
    _check_observations(shapes)
    chosen = choices(config)
    dtype = jnp.dtype(chosen.dtype)
    forms = Forms(**{name: getattr(chosen, name) for name in Forms._fields})
    model = Dreamer(
        config.model,
        shapes,
        action_size,
        discrete=discrete,
        num_classes=num_classes,
        dtype=dtype,
        forms=forms,
        key=key,
    )
    return AgentState(
        model=model,
        slow_value=model.value,
        return_norm=ReturnNorm(),
        opt_state=make_optimizer(config.optimizer).init(_params(model)),
        update=jnp.zeros((), jnp.int32),
    )


def abstract_state(config: Config, *args: Any, **kwargs: Any) -> AgentState:
    """Return the shapes and dtypes of what `init` makes with these arguments, without making it."""
    return eqx.filter_eval_shape(lambda key: init(config, *args, **kwargs, key=key), jr.key(0))


@eqx.filter_jit  # outside of programs, each of the zeros would be compiled by itself
def initial_policy_state(model: Dreamer, num_envs: int) -> PolicyState:
    """Return the state of the policy before its first env step: zeros."""
    one = PolicyState(model.rssm.initial(), model.policy.zero())
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), one)


def act(
    model: Dreamer,
    policy_state: PolicyState,
    observation: Mapping[str, Shaped[Array, "env ..."]],
    is_first: Bool[Array, " env"],
    is_last: Bool[Array, " env"],
    *,
    key: PRNGKeyArray,
) -> tuple[PolicyState, StoredLatent]:
    """Sample an action in each of several environments.

    Args:
        model: Networks.
        policy_state: Result of the last call, or `initial_policy_state`.
        observation: Observations by key.
        is_first: Where an episode begins; forgets what came before.
        is_last: Where it ends; the action there is 0, since nothing follows it.
        key: Random key.

    Returns:
        The new state of the policy, whose `action` is to be taken, unclipped; and the latent
        state in the form that replay keeps.
    """

    def act_one(policy_state, observation, is_first, is_last, key):
        latent_key, action_key = jr.split(key)
        latent, _ = model.rssm.observe(
            policy_state.latent,
            model.encoder(observation),
            model.policy.encode(policy_state.action),
            is_first,
            key=latent_key,
        )
        action = model.policy(latent.feat()).sample(action_key)
        action = jnp.where(is_last, model.policy.zero(), action)
        return PolicyState(latent, action), model.rssm.store(latent)

    keys = jr.split(key, is_first.shape[0])
    with full_products(model.rssm.dtype):
        return jax.vmap(act_one)(policy_state, observation, is_first, is_last, keys)


def is_finite(action: Shaped[Any, "env ..."]) -> Bool[Any, " env"]:
    """Return in which environments an action is finite: an array of NumPy or JAX.

    A discrete action is always a number; that of a policy whose logits are NaN is -1.
    """
    if action.dtype.kind == "i":
        return action >= 0
    return (abs(action) < math.inf).all(axis=-1)


def update(
    state: AgentState, batch: Batch, *, config: Config, key: PRNGKeyArray
) -> tuple[AgentState, StoredLatent, dict[str, Float[Array, ""]]]:
    """Take one gradient step of all networks; update slow value and percentiles of returns.

    Where the loss or a gradient is not finite nothing changes but the count of updates, and
    the metric `opt/skipped` is 1.

    Args:
        state: The agent before the update.
        batch: Replayed sequences.
        config: Settings.
        key: Random key.

    Returns:
        The agent after the update; the latent states of the batch, `[batch, time, ...]`,
        to refresh those in replay; metrics.
    """
    (loss, output), grads = loss_and_grads(state, batch, config=config, key=key)
    params = _params(state.model)
    updates, opt_state = make_optimizer(config.optimizer).update(grads, state.opt_state, params)
    if config.init.freeze:
        updates = _without(updates, config.init.modules)
    model = eqx.apply_updates(state.model, updates)
    rate = config.ac.slow_rate
    slow_value = jax.tree.map(
        lambda slow, fast: (1 - rate) * slow + rate * fast, state.slow_value, model.value
    )
    new = AgentState(model, slow_value, output.return_norm, opt_state, state.update)
    flat_grads = _flat(grads)
    finite = jnp.isfinite(loss) & jnp.all(jnp.isfinite(flat_grads))
    new = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)
    new = eqx.tree_at(lambda state: state.update, new, state.update + 1)
    latents = jax.vmap(jax.vmap(model.rssm.store))(output.rollout.latent)
    metrics = output.metrics | {
        "opt/loss": loss,
        "opt/grad_norm": norm(flat_grads),
        "opt/update_norm": jnp.linalg.norm(_flat(updates)),
        "opt/param_norm": jnp.linalg.norm(_flat(params)),
        "opt/skipped": 1.0 - finite,
    }
    return new, latents, metrics


def report(
    state: AgentState, batch: Batch, *, config: Config, key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """Compute diagnostics that are too costly for every update; takes the arguments of `update`.

    Returns:
        The metrics of `smoothness_report`, with `smooth/` before the names.
    """
    with full_products(state.model.rssm.dtype):
        metrics = smoothness_report(state.model, batch, update=state.update, config=config, key=key)
    return {f"smooth/{name}": value for name, value in metrics.items()}


def loss_and_grads(
    state: AgentState, batch: Batch, *, config: Config, key: PRNGKeyArray
) -> tuple[tuple[Float[Array, ""], LossOutput], PyTree]:
    """Compute the objective at a state of the agent, and its gradient.

    Its arguments are those of `update`.

    Returns:
        `(loss, output)`, and the gradient as a tree like the model.
    """
    chosen = choices(config)
    feat_dtype = jnp.dtype(chosen.factors)
    loss = make_loss(config, state.slow_value, state.return_norm, feat_dtype=feat_dtype)
    value_and_grad = optimise(eqx.filter_value_and_grad(loss, has_aux=True), chosen)
    return value_and_grad(state.model, batch, update=state.update, key=key)


def _flat(tree: PyTree) -> Float[Array, " size"]:
    """Join all leaves in one vector: sums over it compile faster than those over each leaf."""
    return ravel_pytree(tree)[0]


def _without(updates: PyTree, names: Sequence[str]) -> PyTree:
    """Replace the updates of some networks by zeros."""
    frozen = lambda updates: [getattr(updates, name) for name in names]  # noqa: E731
    return eqx.tree_at(frozen, updates, jax.tree.map(jnp.zeros_like, frozen(updates)))


def _params(model: Dreamer) -> PyTree:
    """Filter the trained arrays of a model."""
    return eqx.filter(model, eqx.is_inexact_array)


def _check_observations(shapes: Mapping[str, tuple[int, ...]]) -> None:
    taken = sorted(set(shapes) & RESERVED)
    if taken:
        raise ValueError(
            f"Observations may not have the names of losses or flags; rename {', '.join(taken)}."
        )
