"""Sensitivity of prior and posterior to their inputs (paper, appendix F).

A distribution r(u) over the stochastic state is smooth if a small change of its input u
changes it little. Its sensitivity at u is

    D_KL(r(u) || r(u + delta)) / ||delta||_2,

where delta has a random direction and `||delta||_2` is a fraction, 0.1 % to 10 %, of the
mean norm of u over the states that the agent visits. For the posterior q(z_t | h_t, e_t), u
is the embedding e_t and h_t is held fixed; for the prior p(z_t | h_t), u is h_t. Both are
taken as the model uses them: after unimix, from symlog observations, with the divergence
summed over the rows of z_t.

For small delta the divergence is quadratic in it, so the ratio grows with the fraction; the
paper averages it over states and fractions.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import agent
from ..envs import VectorEnv, make_vector_env
from ..errors import MachineError
from ..evaluation import trained_agent
from ..machine.files import write_json, writing
from ..models import RSSM, Dreamer
from ..runs.folder import RunFolder
from ..seeding import derive_seed
from ..xla.precision import full_products

FRACTIONS: tuple[float, ...] = tuple(np.logspace(-3, -1, 10).tolist())
"""Norms of the perturbations that are averaged over, in mean norms of the input."""

_ONE_PERCENT = 0.01  # what the authors plot; the ten fractions do not contain it


class VisitedStates(NamedTuple):
    """Inputs of prior and posterior at states that an agent came through."""

    deter: Float[Array, "states deter"]
    embed: Float[Array, "states embed"]


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of one distribution of one model, as means over states."""

    input_norm: float
    """Norm of the input that is perturbed."""

    kl: tuple[float, ...]
    """Divergence for each of `FRACTIONS`, in nats."""

    kl_per_norm: tuple[float, ...]
    """The same over the norm of the perturbation, in nats per unit of input."""

    mean: float
    """Mean of `kl_per_norm` over the fractions: the number of the paper's figure."""

    kl_at_1_percent: float
    """Divergence for perturbations of 1 %, in nats: what the authors' code plots."""


@dataclasses.dataclass(frozen=True)
class CheckpointSensitivity:
    """Sensitivity of a run's model at one checkpoint."""

    env_step: int
    frame: int
    update: int
    posterior: Sensitivity
    prior: Sensitivity


def measure_sensitivity(
    folder: RunFolder, *, num_states: int, num_envs: int, seed: int, task: str | None = None
) -> Iterator[CheckpointSensitivity]:
    """Measures every checkpoint of a run, the earliest first.

    All of them begin in the same initial states and see the same random numbers, so that
    they differ by what was learned.

    Args:
        folder: Folder of the run.
        num_states: States per checkpoint, at least 1.
        num_envs: Environments that run in parallel, at least 1; at most one for each state.
        seed: Seeds environments, actions and perturbations, at least 0.
        task: Its task, if the file of that has been moved.

    Yields:
        The sensitivity at each checkpoint, as soon as it is known.

    Raises:
        UsageError: If there is no run in that folder.
        MachineError: If the run has left no checkpoint, one is damaged, or its agent diverged.
    """
    config = folder.config()
    folder.latest_checkpoint()  # fails if there is none
    seed = derive_seed(seed, "sensitivity")
    act_key, perturb_key = jr.split(jr.key(seed))
    for env_step in folder.checkpoints():
        state = trained_agent.load(folder.path, env_step=env_step).state
        with (
            contextlib.chdir("."),  # code of the user's may leave it
            make_vector_env(
                task or config.task,
                num_envs=min(num_envs, num_states),
                seed=seed,
                **config.env_options,
                max_restarts=config.env.max_restarts,
            ) as envs,
            full_products(state.model.rssm.dtype),
        ):
            states = visit_states(state.model, envs, num_states, key=act_key)
            posterior, prior = measure(state.model.rssm, states, key=perturb_key)
        frame = env_step * config.action_repeat
        yield CheckpointSensitivity(env_step, frame, int(state.update), posterior, prior)


def visit_states(
    model: Dreamer, envs: VectorEnv, num_states: int, *, key: PRNGKeyArray
) -> VisitedStates:
    """States on trajectories of the agent, with sampled actions as in training.

    Every environment runs whole episodes, however few states are asked for, and states are
    taken at equal distances in time: a mean over them is one over time. First and last time
    steps count like all others.

    Args:
        model: Networks.
        envs: Environments that have not been stepped yet.
        num_states: Number of states, at least 1.
        key: Random key.

    Returns:
        The states in float32, whatever the compute dtype is.

    Raises:
        MachineError: If the actions are not finite.
    """
    per_env = math.ceil(num_states / envs.num_envs)
    episode = envs.spec.episode_steps + 1  # the reset included
    length = episode * math.ceil(per_env / episode)
    times = (2 * np.arange(per_env) + 1) * length // (2 * per_env)
    policy_state = agent.initial_policy_state(model, envs.num_envs)
    action = envs.no_action()
    visited = []
    for time in range(times[-1] + 1):
        step = envs.step(action)
        key, act_key = jr.split(key)
        observation, _, is_first, is_last, _ = jax.device_put(step)
        policy_state, embed = _act(model, policy_state, observation, is_first, is_last, key=act_key)
        action = np.asarray(policy_state.action)
        if not agent.is_finite(action).all():
            raise MachineError("The agent's actions are not finite: its training diverged.")
        if time == times[len(visited)]:
            inputs = (policy_state.latent.deter, embed)
            visited.append([np.asarray(x, np.float32) for x in inputs])
    arrays = (np.concatenate(x)[:num_states] for x in zip(*visited, strict=True))
    return VisitedStates(*map(jnp.asarray, arrays))


@eqx.filter_jit
def _act(model, policy_state, observation, is_first, is_last, *, key):
    """`agent.act`, which also gives the embeddings of the observations."""
    policy_state, _ = agent.act(model, policy_state, observation, is_first, is_last, key=key)
    return policy_state, jax.vmap(model.encoder)(observation)


def measure(
    rssm: RSSM, states: VisitedStates, *, key: PRNGKeyArray
) -> tuple[Sensitivity, Sensitivity]:
    """Sensitivity of posterior and prior at some states.

    Args:
        rssm: Model whose distributions are measured.
        states: Where.
        key: Random key of the perturbations.

    Returns:
        Those of the posterior and of the prior.
    """
    # f64: the divergence of two tables that differ by 1e-6 is 1e-12, and is to be exact.
    with jax.enable_x64(True):
        states = jax.tree.map(lambda x: x.astype(jnp.float64), states)
        posterior, prior = jax.device_get(_measure(rssm, states, key=key))
    return _summary(*posterior), _summary(*prior)


@eqx.filter_jit
def _measure(rssm, states, *, key):
    posterior_key, prior_key = jr.split(key)
    fractions = jnp.array([*FRACTIONS, _ONE_PERCENT])
    posterior = mean_divergences(
        rssm.posterior_probs, states.embed, fractions, states.deter, key=posterior_key
    )
    prior = mean_divergences(rssm.prior_probs, states.deter, fractions, key=prior_key)
    return posterior, prior


def _summary(norm: np.ndarray, kl: np.ndarray) -> Sensitivity:
    """Names what `mean_divergences` found; the last divergence is the one at 1 %."""
    kl, one_percent = kl[:-1], kl[-1]
    kl_per_norm = kl / (norm * np.array(FRACTIONS))
    return Sensitivity(
        input_norm=float(norm),
        kl=tuple(kl.tolist()),
        kl_per_norm=tuple(kl_per_norm.tolist()),
        mean=float(kl_per_norm.mean()),
        kl_at_1_percent=float(one_percent),
    )


def mean_divergences(
    fn: Callable[..., Float[Array, "rows classes"]],
    inputs: Float[Array, "states input"],
    fractions: Float[Array, " fractions"],
    *fixed: Float[Array, "states _"],
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], Float[Array, " fractions"]]:
    """Divergences that perturbations of equal norm cause, averaged over states.

    Every pair of a state and a fraction has a direction of its own.

    Args:
        fn: `fn(*fixed, input)` gives a table whose rows are positive and sum to one.
        inputs: What is perturbed, at every state.
        fractions: Norms of the perturbations, in mean norms of `inputs`.
        *fixed: What else `fn` depends on, at every state.
        key: Random key.

    Returns:
        The mean norm of the inputs, and the mean divergence of each fraction in nats.
    """
    norm = jnp.mean(jnp.linalg.norm(inputs, axis=-1))

    def at_state(args):
        x, fixed, key = args
        perturbed = lambda radius, key: divergence(  # noqa: E731
            lambda x: fn(*fixed, x), x, radius, key=key
        )
        return jax.vmap(perturbed)(norm * fractions, jr.split(key, fractions.size))

    keys = jr.split(key, inputs.shape[0])
    # In batches, since every state is copied once for each fraction.
    kl = jax.lax.map(at_state, (inputs, fixed, keys), batch_size=64)
    return norm, jnp.mean(kl, axis=0)


def divergence(
    fn: Callable[[Float[Array, " input"]], Float[Array, "rows classes"]],
    x: Float[Array, " input"],
    radius: Float[Array, ""],
    *,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """`KL(fn(x) || fn(x + delta))` in nats, for a random delta of norm `radius`.

    For small radii this is `delta^T F delta / 2`, where F is the Fisher information of `fn`.

    Args:
        fn: Gives a table whose rows are positive and sum to one.
        x: Its input.
        radius: Norm of the perturbation.
        key: Random key of the direction.
    """
    return kl_divergence(fn(x), fn(x + radius * unit_vector(x, key=key)))


def unit_vector(x: Float[Array, " input"], *, key: PRNGKeyArray) -> Float[Array, " input"]:
    """A vector of norm one with the shape and dtype of `x`, in any direction alike."""
    normal = jr.normal(key, x.shape, x.dtype)
    return normal / jnp.linalg.norm(normal)


def kl_divergence(
    probs: Float[Array, "rows classes"], other: Float[Array, "rows classes"]
) -> Float[Array, ""]:
    """KL(probs || other) in nats, summed over rows, also where it is tiny.

    With `d = other / probs - 1`, whose mean under `probs` is zero, the divergence is the
    mean of `d - log(1 + d)`. No term is negative: unlike those of `probs log(probs / other)`,
    which are of first order in d, they do not cancel.
    """
    change = (other - probs) / probs
    return jnp.sum(probs * (change - jnp.log1p(change)))


def describe(checkpoint: CheckpointSensitivity) -> str:
    """One line about a checkpoint: the paper's number, and the divergence at 1 %."""
    parts = [f"env step {checkpoint.env_step:9,}"]
    for name in ("posterior", "prior"):
        result: Sensitivity = getattr(checkpoint, name)
        parts.append(
            f"{name} {result.mean:.2e} nats per unit ({result.kl_at_1_percent:.2e} nats at 1 %)"
        )
    return " | ".join(parts)


def save(folder: RunFolder, measured: Sequence[CheckpointSensitivity], **settings: Any) -> None:
    """Writes `sensitivity.json` into the run folder.

    Args:
        folder: Folder of the run.
        measured: What `measure_sensitivity` gave.
        **settings: How it was measured; written before the numbers.

    Raises:
        MachineError: If the file cannot be written.
    """
    checkpoints = [dataclasses.asdict(checkpoint) for checkpoint in measured]
    record = {**settings, "fractions": FRACTIONS, "checkpoints": checkpoints}
    with writing(folder.path):
        write_json(folder.path / "sensitivity.json", record)
