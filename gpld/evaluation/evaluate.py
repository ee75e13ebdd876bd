"""Evaluating the agent of a run in the environment that it was trained on."""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..config import Config
from ..envs import EnvSpec, name_of, register, runs_code
from ..models import Dreamer
from ..runs.start import read_settings
from ..runs.zoo import open_run
from ..seeding import derive_seed
from . import episodes
from .episodes import Evaluation, Record
from .trained_agent import load


def evaluate(
    run: str | Path,
    *,
    env: Callable[..., Any] | None = None,
    env_step: int | None = None,
    num_episodes: int = 20,
    num_envs: int = 4,
    seed: int = 0,
    actions: Literal["sampled", "modes"] = "sampled",
) -> Evaluation:
    """Play episodes with the agent of a run, as the command `gpld evaluate` does.

    Args:
        run: As for `gpld.load`.
        env: What was given to `gpld.train` as `env`, if the run's environments are made by a
            function of yours.
        env_step: Env steps after which the checkpoint was written; None takes the latest.
        num_episodes: Number of episodes, at least 1.
        num_envs: Environments that run in parallel, at least 1; at most one for each episode.
        seed: Seeds environments, latents and actions; at least 0.
        actions: sampled: from the policy, as published. modes: the policy's likeliest actions.

    Returns:
        Mean and population standard deviation of the returns, and every return and length.

    Raises:
        ValueError: If a number is out of range, or `env` is not what the run was trained on.
        UsageError: If there is no such run or checkpoint, its environment is code of yours that
            nobody has named in this process, or it has other observations or actions now.
        MachineError: If the run has left no checkpoint, or this one is damaged.
        WorkerError: If environments failed too often.
    """
    if num_episodes < 1:
        raise ValueError(f"`num_episodes` must be at least 1, got {num_episodes}.")
    folder = open_run(run)
    if env is not None:
        task, given = folder.config().task, name_of(env)
        if runs_code(task) and given != task:
            raise ValueError(f"`env` must be what the run was trained on, {task}, got {given}.")
        register(task, env)
    (config,) = read_settings([folder], None)
    spec = folder.env_spec()
    evaluation = evaluate_model(
        load(run, env_step=env_step).state.model,
        config,
        spec,
        num_episodes=num_episodes,
        num_envs=num_envs,
        seed=seed,
        actions=actions,
        warn=lambda message: warnings.warn(message, stacklevel=4),
    )
    if cut := evaluation.describe_cut(spec):
        warnings.warn(cut, stacklevel=2)
    return evaluation


def evaluate_model(
    model: Dreamer,
    config: Config,
    spec: EnvSpec,
    *,
    num_episodes: int,
    num_envs: int,
    seed: int,
    actions: Literal["sampled", "modes"],
    record: Record | None = None,
    warn: Callable[[str], None] | None = None,
) -> Evaluation:
    """Play episodes in the environments of a run's settings; see `episodes.evaluate`.

    Args:
        model: Networks.
        config: Settings of the run.
        spec: What the agent was trained on.
        num_episodes: Number of episodes.
        num_envs: Environments that run in parallel.
        seed: From which the seeds of environments, latents and actions follow.
        actions: As for `evaluate`.
        record: Told every step.
        warn: Told of each failure.
    """
    with contextlib.chdir("."):  # code of the user's may leave it
        return episodes.evaluate(
            model,
            config.task,
            num_episodes=num_episodes,
            num_envs=num_envs,
            seed=env_seed(seed),
            actions=actions,
            max_restarts=config.env.max_restarts,
            record=record,
            warn=warn,
            spec=spec,
            **config.env_options,
        )


def env_seed(seed: int) -> int:
    """Return the seed of the environments in an evaluation of a checkpoint."""
    return derive_seed(seed, "evaluate checkpoint")
