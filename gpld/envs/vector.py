"""Many environments of one task behind one batched time step."""

import contextlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from .group import EnvGroup
from .registry import env_factory
from .timestep import EnvSpec, TimeStep, join_timesteps
from .worker import Worker, WorkerError


class VectorEnv(contextlib.AbstractContextManager):
    """Environments stepped together, each reset automatically after its last time step.

    The first step resets all of them. Later, an environment whose previous time step
    had `is_last` is reset by the step that follows: its action is ignored, its reward
    is 0 and its time step has `is_first`. As a context manager it closes itself.

    Attributes:
        spec: Shapes and sizes of the task.
        num_envs: Number of environments, the batch axis of actions and time steps.
    """

    spec: EnvSpec
    num_envs: int

    def __init__(self, groups: Sequence[EnvGroup | Worker]):
        """Takes over `groups`, at least one; their environments keep their order.

        Raises:
            WorkerError: If a worker could not make its environments.
        """
        self._groups = tuple(groups)
        self._pending = False
        with contextlib.ExitStack() as stack:
            for group in groups:
                stack.callback(group.close)
            self.spec, *_ = [group.spec for group in groups]  # waits for every worker
            self._resources = stack.pop_all()
        sizes = [group.num_envs for group in groups]
        self.num_envs = sum(sizes)
        self._bounds = np.cumsum(sizes)[:-1]

    def send(self, action: Float32[np.ndarray, "num_envs action"]) -> None:
        """Starts a step; worker processes carry it out while the caller goes on.

        Raises:
            ValueError: If `action` has the wrong shape.
            RuntimeError: If the previous step has not been received, or after `close`.
        """
        shape = (self.num_envs, self.spec.action_size)
        if action.shape != shape:
            raise ValueError(f"`action` must have shape {shape}, got {action.shape}.")
        if not self._groups:
            raise RuntimeError("The vector environment is closed.")
        if self._pending:
            raise RuntimeError("`recv` must be called between two calls of `send`.")
        parts = np.split(action, self._bounds)
        for group, part in zip(self._groups, parts, strict=True):
            group.send(part)
        self._pending = True

    def recv(self) -> TimeStep:
        """Waits for the step that `send` has started; the arrays are new each time.

        Raises:
            WorkerError: If a worker failed or died; the vector environment is closed.
            RuntimeError: If no step has been sent.
        """
        if not self._pending:
            raise RuntimeError("`send` must be called before `recv`.")
        self._pending = False
        try:
            return join_timesteps(np.concatenate, [group.recv() for group in self._groups])
        except WorkerError:
            self.close()
            raise

    def step(self, action: Float32[np.ndarray, "num_envs action"]) -> TimeStep:
        """Steps every environment: `send`, then `recv`."""
        self.send(action)
        return self.recv()

    def close(self) -> None:
        """Closes the environments and ends their processes; may be called again."""
        self._groups = ()
        self._pending = False
        self._resources.close()

    def __exit__(self, *_: object) -> None:
        """Calls `close`."""
        self.close()


def make_vector_env(
    task: str, *, num_envs: int, seed: int, action_repeat: int = 1, workers: int = 0
) -> VectorEnv:
    """Makes environments with different seeds; the number of workers changes no result.

    Args:
        task: One of `task_names()`.
        num_envs: Number of environments, at least 1.
        seed: At least 0; environment i is seeded from the pair of `seed` and i.
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.
        workers: Processes that share the environments, one per environment at most; 0
            steps them in this process, where an exception of theirs is raised as it is.

    Raises:
        ValueError: If an argument is out of range or `task` is unknown.
        WorkerError: If a worker could not make its environments.
    """
    if num_envs < 1:
        raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    if workers < 0:
        raise ValueError(f"`workers` must be at least 0, got {workers}.")
    factory = env_factory(task, action_repeat=action_repeat)
    seeds = [int(np.random.SeedSequence((seed, i)).generate_state(1)[0]) for i in range(num_envs)]
    if workers == 0:
        return VectorEnv([EnvGroup([factory(seed=seed) for seed in seeds])])
    shares = np.array_split(np.arange(num_envs), min(workers, num_envs))
    return VectorEnv(
        [
            Worker(
                factory,
                [seeds[i] for i in share],
                name=f"Worker of environments {share[0]} to {share[-1]} of {task}",
            )
            for share in shares
        ]
    )
