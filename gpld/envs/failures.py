"""Failures of environments: numbers that are not finite, and how many failures are allowed."""

import numpy as np
from jaxtyping import Int

from .timestep import EnvSpec, TimeStep


class WorkerError(RuntimeError):
    """Environments failed, because a process died or hung or a number is not finite.

    The message says which and why. Where an exception was the cause, a note carries its
    traceback.
    """


class Failures:
    """Failures of one task's environments, counted up to a limit.

    Attributes:
        count: Failures so far; may be set to go on from those of an earlier process.
        messages: What failed in this process and what became of it, in order.
    """

    count: int
    messages: list[str]

    def __init__(self, task: str, spec: EnvSpec, limit: int):
        """Begin with no failures.

        Args:
            task: What messages call the task.
            spec: Shapes and sizes of the task.
            limit: Failures that are allowed in all.
        """
        self.count = 0
        self.messages = []
        self._task, self._spec, self._limit = task, spec, limit

    @property
    def allowed(self) -> bool:
        """True while one more failure is within the limit."""
        return self.count < self._limit

    def add(self, message: str) -> None:
        """Count one failure."""
        self.count += 1
        self.messages.append(message)

    def add_spoilt(self, spoilt: Int[np.ndarray, " num_envs"]) -> None:
        """Count the episodes that are truncated because a number is not finite.

        Args:
            spoilt: The result of `find_spoilt`.

        Raises:
            WorkerError: At the first failure that is not allowed any more.
        """
        for env in np.flatnonzero(spoilt).tolist():
            message = self._describe(env, int(spoilt[env]))
            if not self.allowed:
                raise WorkerError(
                    f"{message} It is one failure more than the {self._limit} that "
                    "`--env.max_restarts` allows."
                )
            self.add(f"{message} Its episode is truncated.")

    def _describe(self, env: int, place: int) -> str:
        names = sorted(self._spec.observation)
        what = f"an observation `{names[place - 1]}`" if place <= len(names) else "a reward"
        return f"Environment {env} of {self._task} gave {what} that is not finite."


def find_spoilt(timestep: TimeStep) -> Int[np.ndarray, " num_envs"]:
    """Find the environments with a number that is not finite in a batched time step.

    Returns:
        For each, 0 or one more than the place of the first such array: among those of the
        observation, in the order of their names, and then the reward.
    """
    arrays = [timestep.observation[name] for name in sorted(timestep.observation)]
    spoilt = np.zeros(timestep.reward.shape, np.int8)
    for place, array in enumerate([*arrays, timestep.reward], 1):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            spoilt[~rows & (spoilt == 0)] = place
    return spoilt
