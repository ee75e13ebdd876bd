"""Many environments of a task, on any engine."""

import functools
from collections.abc import Callable

import numpy as np

from .backend import Backend, Implementation, check_implementation, choose_backend
from .functional.env import FunctionalEnv
from .functional_registry import functional_env
from .registry import Observations, env_factory
from .timestep import Environment
from .vector.group import EnvGroup, Group
from .vector.restarts import Restarts
from .vector.vector import VectorEnv
from .vector.worker import Worker


def make_vector_env(
    task: str,
    *,
    num_envs: int,
    seed: int,
    action_repeat: int = 1,
    observations: Observations = "vectors",
    image_size: int = 64,
    backend: Backend = "auto",
    mjx_impl: Implementation = "jax",
    stagger: bool = False,
    workers: int = 0,
    timeout: float = 300.0,
    max_restarts: int = 0,
    replace_workers: bool = True,
) -> VectorEnv:
    """Makes environments with different seeds.

    Neither the number of workers nor a choice between dmc and batch changes a result. With mjx,
    everything that is drawn follows from `seed`, and results differ by rounding.

    Args:
        task: One of `task_names()`.
        num_envs: Number of environments, at least 1.
        seed: At least 0; environment i is seeded from the pair of `seed` and i.
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.
        observations: vectors, pixels or both; a probe has its own.
        image_size: Pixels along both sides of a picture, at least 1.
        backend: The engine: dmc, batch, mjx, or what `choose_backend` takes for auto.
        mjx_impl: Which of MJX's implementations simulates; of no account elsewhere.
        stagger: With mjx, whether the first episode of each environment ends early, after a
            random number of steps.
        workers: Processes that share the environments, one per environment at most; 0
            steps them in this process, where an exception of theirs is raised as it is
            and nothing can be restarted. With batch: threads of this process, at least one.
        timeout: Seconds, positive, in which a worker must answer; it fails otherwise.
        max_restarts: How many failures are allowed in all, at least 0: workers that are
            replaced, and episodes that are truncated because a number is not finite. The
            environments of a worker that replaces another at the n-th of them are seeded from
            `seed`, i and n.
        replace_workers: Whether workers are replaced at all; otherwise the first that fails is
            the last.

    Raises:
        ValueError: If an argument is out of range, `task` is unknown, or `backend` cannot
            step it.
        MachineError: If there are pictures and no OpenGL library can draw them here.
        WorkerError: If a worker could not make its environments.
    """
    if num_envs < 1:
        raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
    for name, number in (("seed", seed), ("workers", workers), ("max_restarts", max_restarts)):
        if number < 0:
            raise ValueError(f"`{name}` must be at least 0, got {number}.")
    check_implementation("mjx_impl", mjx_impl)
    if not timeout > 0:
        raise ValueError(f"`timeout` must be positive, got {timeout}.")
    factory = env_factory(
        task, action_repeat=action_repeat, observations=observations, image_size=image_size
    )
    engine = choose_backend(task, backend, observations)
    if engine == "mjx":
        env = functional_env(task, action_repeat=action_repeat, impl=mjx_impl, max_envs=num_envs)
        group = _compiled(env, num_envs, stagger=stagger, seed=env_seed(seed))
        return VectorEnv([group], Restarts(limit=max_restarts), task)
    seeds = [env_seed(seed, i) for i in range(num_envs)]
    if engine == "batch":
        from .vector.batch import BatchGroup

        group = BatchGroup(task, seeds, action_repeat=action_repeat, threads=max(workers, 1))
        return VectorEnv([group], Restarts(limit=max_restarts), task)
    if workers == 0:
        group = EnvGroup([factory(seed=seed) for seed in seeds])
        return VectorEnv([group], Restarts(limit=max_restarts), task)
    shares = [part.tolist() for part in np.array_split(np.arange(num_envs), min(workers, num_envs))]
    start = functools.partial(_start_worker, task, factory, shares, seed, timeout)
    groups = [start(index) for index in range(len(shares))]
    restarts = Restarts(start if replace_workers else None, max_restarts)
    return VectorEnv(groups, restarts, task)


def env_seed(*entropy: int) -> int:
    """Seed of one environment of a vector environment: of its seed, the index, the restart."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _compiled(env: FunctionalEnv, num_envs: int, *, stagger: bool, seed: int) -> Group:
    """Environments whose steps are one compiled program."""
    from .functional.auto_reset import AutoReset
    from .vector.jax_group import FunctionalGroup

    return FunctionalGroup(AutoReset(env, num_envs, stagger=stagger), seed=seed)


def _start_worker(
    task: str,
    factory: Callable[..., Environment],
    shares: list[list[int]],
    seed: int,
    timeout: float,
    index: int,
    *restart: int,
) -> Worker:
    """Starts the process of a share of the environments, or another in its place."""
    share = shares[index]
    return Worker(
        factory,
        [env_seed(seed, i, *restart) for i in share],
        name=f"Worker of environments {share[0]} to {share[-1]} of {task}",
        timeout=timeout,
    )
