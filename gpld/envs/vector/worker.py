"""Environments in a process of their own."""

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ...machine.subprocesses import Child, telling_failures
from ..failures import WorkerError
from ..timestep import Environment, EnvSpec, EnvState, TimeStep
from .group import Actions, EnvGroup, Group, Mask


class Worker(Group):
    """An `EnvGroup` in another process, which steps it between `send` and `recv`.

    Whatever waits for the process raises a `WorkerError` if the process has died, if it
    does not answer in time, which ends it, or if an environment has raised an exception.
    """

    def __init__(
        self,
        factory: Callable[..., Environment],
        seeds: Sequence[int],
        *,
        name: str,
        timeout: float = math.inf,
    ):
        """Start the process; `spec` waits until it is ready.

        Args:
            factory: Makes an environment from a keyword argument `seed`; pickled.
            seeds: One per environment, at least one.
            name: What errors call the worker.
            timeout: Seconds that each answer is waited for, positive.
        """
        self.num_envs = len(seeds)
        # Environments in JAX would take memory of the accelerator from the run.
        self._child = Child(
            step_on_request, name=name, error=WorkerError, timeout=timeout, JAX_PLATFORMS="cpu"
        )
        self._child.send((factory, seeds))

    @functools.cached_property
    def spec(self) -> EnvSpec:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sizes of the task; waits until the environments are made."""
        return self._ask(operator.attrgetter("spec"))

    def send(self, action: Actions, skip: Mask, reset: Mask | None = None) -> None:
        """Start a step of every environment but those to `skip`."""
        self._child.send((_step, action, skip, reset))

    def recv(self) -> TimeStep:
        """Wait for the step that `send` has started."""
        return self._child.recv()

    def get_states(self) -> list[EnvState]:
        """Return the state of each environment in order; not between `send` and `recv`."""
        return self._ask(EnvGroup.get_states)

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continue from `states`, one per environment; not between `send` and `recv`."""
        self._ask(EnvGroup.set_states, states)

    def hang_up(self) -> None:
        """Tell the process to exit, for which `close` waits."""
        self._child.hang_up()

    def close(self) -> None:
        """End the process; calling it again does nothing."""
        self._child.close()

    def _ask(self, request: Callable[..., Any], *arguments: Any) -> Any:
        """Have the process apply a function to its group; return the result."""
        self._child.send((request, *arguments))
        return self._child.recv()


def step_on_request(connection: Connection) -> None:
    """Run in the worker: make its environments, do with them what is requested, and close them.

    Args:
        connection: The worker's end of the pipe.
    """
    factory, seeds = connection.recv()
    group = EnvGroup([factory(seed=seed) for seed in seeds])
    with telling_failures(connection):
        while True:
            request, *arguments = connection.recv()
            connection.send(request(group, *arguments))
    # Only once it is told what has failed: closing may fail as well, or hang.
    with contextlib.suppress(Exception):
        group.close()


def _step(group: EnvGroup, action: Actions, skip: Mask, reset: Mask | None) -> TimeStep:
    group.send(action, skip, reset)
    return group.recv()
