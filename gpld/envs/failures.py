"""Failures of environments: numbers that are not finite, and how many failures are allowed."""

from typing import Any

import numpy as np
from jaxtyping import Int

from ..errors import MachineError
from .timestep import EnvSpec, TimeStep


class WorkerError(MachineError):
    """Environments failed, because a process died or hung or a number is not finite.

    The message says which and why. Where an exception was the cause, a note carries its
    traceback.
    """


class TooManyFailuresError(WorkerError):
    """Error: environments have failed once more than is allowed.

    What was collected before is whole, so that a run can be saved and go on with a higher limit.
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

    def one_more(self, message: str) -> TooManyFailuresError:
        """Return the error of a failure that is not allowed any more."""
        return TooManyFailuresError(
            f"{message} It is one failure more than the {self._limit} that `--env.max_restarts` "
            "allows."
        )

    def add(self, message: str) -> None:
        """Count one failure."""
        self.count += 1
        self.messages.append(message)

    def add_spoilt(self, spoilt: Int[np.ndarray, " num_envs"]) -> None:
        """Count the episodes that are truncated because a number is not finite.

        Args:
            spoilt: The result of `find_spoilt`.

        Raises:
            TooManyFailuresError: At the first failure that is not allowed any more.
        """
        names = [f"an observation `{name}`" for name in sorted(self._spec.observation)]
        for env in np.flatnonzero(spoilt).tolist():
            what = [*names, "a reward"][spoilt[env] - 1]
            message = f"Environment {env} of {self._task} gave {what} that is not finite."
            if not self.allowed:
                raise self.one_more(message)
            self.add(f"{message} Its episode is truncated.")


def find_spoilt(timestep: TimeStep) -> Int[Any, " num_envs"]:
    """Find the environments with a number that is not finite in a batched time step.

    Arrays may be JAX's, as for functional environments.

    Returns:
        For each, 0 or one more than the place of the first such array: among those of the
        observation, in the order of their names, and then the reward.
    """
    xp = timestep.reward.__array_namespace__()
    arrays = [timestep.observation[name] for name in sorted(timestep.observation)]
    spoilt = xp.zeros(timestep.reward.shape, xp.int8)
    for place, array in enumerate([*arrays, timestep.reward], 1):
        if array.dtype.kind == "f":
            bad = ~xp.isfinite(array).reshape(len(spoilt), -1).all(axis=1)
            spoilt = xp.where(bad & (spoilt == 0), xp.int8(place), spoilt)
    return spoilt
