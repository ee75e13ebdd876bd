"""Groups of environments that step as one, and go on when a worker fails."""

import contextlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int

from ..spoilt import describe_spoilt, find_spoilt
from ..timestep import EnvSpec, EnvState, TimeStep, join_timesteps, map_timestep
from .group import Group
from .restarts import Restarts
from .worker import Worker, WorkerError


class Pool:
    """All environments of a vector environment.

    A worker that fails is replaced, if restarts are left. The next time step of those of
    its environments that were in an episode ends this episode: it repeats the observation
    before it, with reward 0 and `is_last`. They and the others are then reset as usual.
    A time step with a number that is not finite becomes such a one as well, and counts as
    a restart.

    Attributes:
        spec: Shapes and sizes of the task.
        num_envs: Number of environments.
        newest: What was received last; before the first step, zeros with `is_last`.
        interrupted: Environments whose episode `newest` has ended in that way, or has cut short.
    """

    spec: EnvSpec
    num_envs: int
    newest: TimeStep
    interrupted: Bool[np.ndarray, " num_envs"]

    def __init__(self, groups: Sequence[Group], restarts: Restarts, task: str):
        """Takes over `groups`, at least one, and waits for them.

        Args:
            groups: The environments.
            restarts: Counts failures.
            task: What messages call the task.

        Raises:
            WorkerError: If a worker could not make its environments; all are closed.
        """
        self._groups = list(groups)
        self._restarts, self._task = restarts, task
        try:
            self.spec, *_ = [group.spec for group in groups]
        except BaseException:
            self.close()
            raise
        ends = np.cumsum([group.num_envs for group in groups]).tolist()
        self._parts = [slice(*ends) for ends in zip([0, *ends[:-1]], ends, strict=True)]
        self.num_envs = ends[-1]
        self.newest = TimeStep(
            {
                key: np.zeros((self.num_envs, *shape), dtype)
                for key, (shape, dtype) in self.spec.observation.items()
            },
            reward=np.zeros(self.num_envs, np.float32),
            is_first=np.zeros(self.num_envs, bool),
            is_last=np.ones(self.num_envs, bool),
            is_terminal=np.zeros(self.num_envs, bool),
        )
        self.interrupted = np.zeros(self.num_envs, bool)
        # Environments that were made anew in the middle of an episode.
        self._renewed = np.zeros(self.num_envs, bool)

    @property
    def closed(self) -> bool:
        """Whether `close` was called, be it after an error."""
        return not self._groups

    def send(self, action: Float32[np.ndarray, "num_envs action"]) -> None:
        """Starts a step."""
        for group, part in zip(self._groups, self._parts, strict=True):
            group.send(action[part], self._renewed[part], self.newest.is_last[part])

    def start(self) -> None:
        """Has the step that was sent go on while the caller does something else."""
        for group in self._groups:
            group.start()

    def recv(self) -> None:
        """Waits for the step and sets `newest` and `interrupted`.

        Raises:
            WorkerError: If a worker failed or a number is not finite, and no restart is left;
                all are closed.
        """
        steps = [self._recv(i) for i in range(len(self._groups))]
        stepped = steps[0] if len(steps) == 1 else join_timesteps(np.concatenate, steps)
        spoilt = find_spoilt(stepped)
        self._count(spoilt)
        failed, self._renewed = self._renewed | (spoilt > 0), np.zeros(self.num_envs, bool)
        self.interrupted = failed.copy()
        for group, part in zip(self._groups, self._parts, strict=True):
            self.interrupted[part] |= group.interrupted
        if not failed.any():
            self.newest = stepped
            return
        truncated = self.newest._replace(
            reward=np.zeros_like(stepped.reward),
            is_first=stepped.is_first,  # where a reset gives such a number
            is_last=np.ones_like(stepped.is_last),
            is_terminal=np.zeros_like(stepped.is_terminal),
        )
        self.newest = _select(failed, truncated, stepped)

    def get_state(self) -> EnvState:
        """State of each environment under its number, and of the pool; not during a step.

        Raises:
            WorkerError: As `recv`.
        """
        states = [state for i in range(len(self._groups)) for state in self._get_states(i)]
        return {
            "envs": {str(i): state for i, state in enumerate(states)},
            "renewed": self._renewed.copy(),
            "timestep": map_timestep(np.copy, self.newest)._asdict(),
            "interrupted": self.interrupted.copy(),
            "num_restarts": self._restarts.count,
        }

    def set_state(self, state: EnvState) -> None:
        """Continues where a pool was; not during a step.

        Raises:
            ValueError: If `state` is one of another number of environments.
            WorkerError: If a worker failed or refused the state; all are closed.
        """
        envs = state["envs"]
        if len(envs) != self.num_envs:
            raise ValueError(f"`state` must hold {self.num_envs} environments, got {len(envs)}.")
        try:
            for group, part in zip(self._groups, self._parts, strict=True):
                group.set_states([envs[str(i)] for i in range(part.start, part.stop)])
        except WorkerError:
            self.close()
            raise
        self._renewed = state["renewed"].copy()
        self.newest = map_timestep(np.copy, TimeStep(**state["timestep"]))
        self.interrupted = state["interrupted"].copy()
        self._restarts.count = state["num_restarts"]

    def close(self) -> None:
        """Closes the environments and ends their processes; may be called again."""
        groups, self._groups = self._groups, []
        with contextlib.ExitStack() as stack:
            for group in groups:
                stack.callback(group.close)
                if isinstance(group, Worker):
                    group.hang_up()  # all exit at the same time

    def _count(self, spoilt: Int[np.ndarray, " num_envs"]) -> None:
        """Takes note of numbers that are not finite."""
        try:
            for i in np.flatnonzero(spoilt).tolist():
                self._restarts.truncated(describe_spoilt(self._task, i, int(spoilt[i]), self.spec))
        except WorkerError:
            self.close()
            raise

    def _recv(self, index: int) -> TimeStep:
        while True:
            try:
                return self._groups[index].recv()
            except WorkerError as error:
                self._renew(index, error)
                # Their first step resets or skips new environments: no action is heeded.
                part = self._parts[index]
                action = np.zeros((self.num_envs, self.spec.action_size), np.float32)
                self._groups[index].send(action[part], self._renewed[part])

    def _get_states(self, index: int) -> list[EnvState]:
        while True:
            try:
                return self._groups[index].get_states()
            except WorkerError as error:
                self._renew(index, error)

    def _renew(self, index: int, error: WorkerError) -> None:
        self._groups[index].close()
        try:
            self._groups[index] = self._restarts.replace(index, error)
        except WorkerError:
            self.close()
            raise
        part = self._parts[index]
        self._renewed[part] = ~self.newest.is_last[part]


def _select(mask: Bool[np.ndarray, " batch"], a: TimeStep, b: TimeStep) -> TimeStep:
    """Time steps of `a` where `mask` is true, and of `b` elsewhere."""

    def select(arrays: Sequence[np.ndarray]) -> np.ndarray:
        x, y = arrays
        return np.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return join_timesteps(select, [a, b])
