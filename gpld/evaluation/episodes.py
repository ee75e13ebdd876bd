"""Episodes with an agent that does not learn."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, Shaped

from ..agent import act, initial_policy_state, is_finite
from ..envs import (
    CompleteOptions,
    EnvOptions,
    EnvSpec,
    TimeStep,
    VectorEnv,
    check_same,
    choose_backend,
    is_own,
    make_vector_env,
)
from ..envs.lookup import FUNCTIONAL
from ..envs.registry import Observations
from ..errors import Interrupted, MachineError
from ..machine.provenance import num_cores
from ..models import Dreamer, Latent
from ..runs.metrics import EpisodeEnd, EpisodeTracker
from ..xla.precision import full_products

LONGEST = 10_000
"""Env steps after which an evaluation cuts an episode for which no time limit is known."""

Record = Callable[[TimeStep, np.ndarray], None]
"""Is told every time step of all environments, and the actions that answer it."""


class Evaluation(NamedTuple):
    """Results of several episodes."""

    mean: float
    """Mean return."""

    std: float
    """Population standard deviation of the returns."""

    scores: list[float]
    """Return of each episode, undiscounted."""

    lengths: list[int]
    """Env steps of each episode, the reset included."""

    def describe_cut(self, spec: EnvSpec) -> str | None:
        """Say, if it is so, that episodes were cut, of environments with this specification."""
        if spec.episode_steps or max(self.lengths) <= LONGEST:
            return None
        return (
            f"episodes of evaluations are cut after {LONGEST:,} env steps, since no time limit is "
            "known; their returns are those up to there"
        )


def evaluate(
    model: Dreamer,
    task: str,
    *,
    num_episodes: int,
    num_envs: int,
    seed: int,
    actions: Literal["sampled", "modes"] = "sampled",
    max_restarts: int = 0,
    workers: int = 0,
    timeout: float = 300.0,
    should_stop: Callable[[], bool] | None = None,
    record: Record | None = None,
    warn: Callable[[str], None] | None = None,
    spec: EnvSpec | None = None,
    **options: Unpack[EnvOptions],
) -> Evaluation:
    """Runs episodes in environments of their own; tasks of the suite have dm_control's physics.

    Args:
        model: Networks.
        task: One of `task_names()`.
        num_episodes: Number of episodes.
        num_envs: Environments that run in parallel, at most one for each episode.
        seed: Seeds environments, latents and actions.
        actions: As for `run_episodes`.
        max_restarts: Episodes that may be truncated because a number is not finite; another is run
            instead of each.
        workers: Processes that step environments of one's own, at most one for each; 0 steps them
            in this one, unless there are pictures. Those of gymnax and Playground, which each
            process would compile, always are in this one.
        timeout: Seconds in which such a process must answer.
        should_stop: Asked at every step.
        record: Told every step.
        warn: Told of each failure.
        spec: What the agent was trained on, which the environments must have; None looks at
            nothing.
        **options: As for `make_env`.

    Raises:
        Interrupted: If it should stop.
        UsageError: If the environments have other observations or actions.
        MachineError: If the actions are not finite, or there are pictures and nothing can
            draw them here.
        WorkerError: If environments failed too often.
    """
    num_envs = min(num_episodes, num_envs)
    with make_vector_env(
        task,
        num_envs=num_envs,
        seed=seed,
        workers=_num_workers(task, CompleteOptions(**options).observations, num_envs, workers),
        timeout=timeout,
        max_restarts=max_restarts,
        replace_workers=is_own(task),  # as in this process, where they are replaced as well
        **options,
    ) as envs:
        if spec is not None:
            check_same(task, envs.spec, "the run", spec)
        episodes = run_episodes(
            model,
            envs,
            num_episodes,
            actions=actions,
            should_stop=should_stop,
            record=record,
            key=jr.key(seed),
        )
        if warn is not None:
            for message in envs.failures:
                warn(f"In an evaluation: {message}")
    scores = [episode.score for episode in episodes]
    lengths = [episode.length for episode in episodes]
    return Evaluation(float(np.mean(scores)), float(np.std(scores)), scores, lengths)


def _num_workers(task: str, observations: Observations, num_envs: int, own: int) -> int:
    """Return how many processes, or threads, step the environments; `own` if they are one's own."""
    # Threads cost nothing; pictures take longer than steps, and are drawn in parallel.
    if choose_backend(task, "auto", observations) == "batch" or observations != "vectors":
        return min(num_envs, num_cores())
    functional = task.partition(":")[0] in FUNCTIONAL  # which are compiled in each process
    return own if is_own(task) and not functional else 0


def run_episodes(
    model: Dreamer,
    envs: VectorEnv,
    num_episodes: int,
    *,
    actions: Literal["sampled", "modes"] = "sampled",
    should_stop: Callable[[], bool] | None = None,
    record: Record | None = None,
    key: PRNGKeyArray,
) -> list[EpisodeEnd]:
    """Runs episodes in several environments at once.

    Which episodes count is settled beforehand, the same number in each environment as far
    as possible, so that short ones are not preferred. One that a failure has cut short does
    not, and the next one of its environment takes its place. One for which no time limit is known
    is cut after `LONGEST` env steps, and counts.

    Args:
        model: Networks.
        envs: Environments that have not been stepped yet.
        num_episodes: Number of episodes.
        actions: sampled: from the policy, as published. modes: its likeliest ones; the
            posterior's latents, of which they are functions, are sampled all the same.
        should_stop: Asked at every step whether to give up.
        record: Told every step; see `Record`.
        key: Random key.

    Returns:
        The episodes, those of the first environment first.

    Raises:
        Interrupted: If it should stop.
        MachineError: If the actions are not finite.
    """
    quota = np.full(envs.num_envs, num_episodes // envs.num_envs)
    quota[: num_episodes % envs.num_envs] += 1
    finished: list[list[EpisodeEnd]] = [[] for _ in quota]
    tracker = EpisodeTracker(envs.num_envs)
    policy_state = initial_policy_state(model, envs.num_envs)
    action = envs.no_action()
    elapsed = np.zeros(envs.num_envs, int)
    while any(len(f) < n for f, n in zip(finished, quota, strict=True)):
        if should_stop is not None and should_stop():
            raise Interrupted("The evaluation was interrupted.")
        step = envs.step(action)
        if not envs.spec.episode_steps:
            elapsed = np.where(step.is_first, 0, elapsed + 1)
            envs.cut(elapsed >= LONGEST)
            step = step._replace(is_last=step.is_last | (elapsed >= LONGEST))
        key, act_key = jr.split(key)
        observation, _, is_first, is_last, _ = jax.device_put(step)
        policy_state, _ = _act(model, policy_state, observation, is_first, is_last, key=act_key)
        if actions == "modes":
            policy_state = policy_state._replace(action=_modes(model, policy_state.latent, is_last))
        action = np.asarray(policy_state.action)
        if not is_finite(action).all():
            raise MachineError("The agent's actions are not finite: its training diverged.")
        if record is not None:
            record(step, action)
        for episode in tracker.add(step, envs.interrupted):
            if len(finished[episode.env]) < quota[episode.env]:
                finished[episode.env].append(episode)
    return [episode for episodes in finished for episode in episodes]


_act = eqx.filter_jit(act)


@eqx.filter_jit
def _modes(
    model: Dreamer, latent: Latent, is_last: Bool[Array, " env"]
) -> Shaped[Array, "env ..."]:
    """Return the policy's modes; 0 where `act` gives 0."""

    def mode(latent, is_last):
        return jnp.where(is_last, model.policy.zero(), model.policy(latent.feat()).mode())

    with full_products(model.rssm.dtype):
        return jax.vmap(mode)(latent, is_last)
