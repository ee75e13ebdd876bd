"""Many environments of one task behind one batched time step."""

import contextlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from ..timestep import EnvSpec, EnvState, TimeStep, map_timestep
from .group import Group
from .pool import Pool
from .restarts import Restarts


class VectorEnv(contextlib.AbstractContextManager):
    """Environments stepped together, each reset automatically after its last time step.

    The first step resets all of them. Later, an environment whose previous time step
    had `is_last` is reset by the step that follows: its action is ignored, its reward
    is 0 and its time step has `is_first`. As a context manager it closes itself.

    A worker that dies, raises an exception or does not answer in time is replaced, if
    restarts are left, by one with new environments. The episodes that went with it are
    truncated: their time step repeats the observation before it, with reward 0 and
    `is_last`, and the next step resets. An environment that was due for its reset has
    lost nothing and is reset at once.

    An observation or reward that is not finite truncates its episode in the same way and
    counts as such a failure, whatever steps the environment. Where a reset gives one, that
    time step has `is_first` as well: nobody is shown the number.

    Attributes:
        spec: Shapes and sizes of the task.
        num_envs: Number of environments, the batch axis of actions and time steps.
        interrupted: Environments whose episode was ended, by the time step that `recv` has
            returned last, for no reason of the task's: because they had failed, or were to
            be out of phase (`stagger`). Such an episode has no score.
    """

    spec: EnvSpec
    num_envs: int
    interrupted: Bool[np.ndarray, " num_envs"]

    def __init__(
        self, groups: Sequence[Group], restarts: Restarts | None = None, task: str = "the task"
    ):
        """Takes over `groups`, at least one; their environments keep their order.

        Args:
            groups: The environments.
            restarts: Counts failures and replaces workers; by default none is allowed.
            task: What messages call the task.

        Raises:
            WorkerError: If a worker could not make its environments.
        """
        self._restarts = restarts or Restarts()
        self._pool = Pool(groups, self._restarts, task)
        self.spec, self.num_envs = self._pool.spec, self._pool.num_envs
        self.interrupted = np.zeros(self.num_envs, bool)
        # Whether a step is on its way, or has been received but not yet returned.
        self._sent = self._kept = False

    @property
    def num_restarts(self) -> int:
        """Failures so far, also before the state was taken that was set here."""
        return self._restarts.count

    @property
    def failures(self) -> list[str]:
        """What failed and what became of it, in order; only what happened here."""
        return self._restarts.failures

    @property
    def pending(self) -> bool:
        """True if a step was sent that `recv` has not returned yet."""
        return self._sent or self._kept

    def send(self, action: Float32[np.ndarray, "num_envs action"]) -> None:
        """Starts a step; workers or threads carry it out while the caller goes on.

        Raises:
            ValueError: If `action` has the wrong shape.
            RuntimeError: If the previous step has not been received, or after `close`.
        """
        self._send(action)
        self._pool.start()

    def wait(self) -> None:
        """Waits for the step that `send` has started, and leaves it to `recv`.

        Raises:
            WorkerError: As `recv`.
            RuntimeError: If no step has been sent.
        """
        if self._pool.closed or not (self._sent or self._kept):
            raise RuntimeError("`send` must be called before `wait`.")
        self._receive()

    @property
    def newest(self) -> TimeStep:
        """The time step that was waited for; valid until the next `send`."""
        return self._pool.newest

    def recv(self) -> TimeStep:
        """Waits for the step that `send` has started; the arrays are new each time.

        Raises:
            WorkerError: If a worker failed and no restart is left; the vector environment
                is closed.
            RuntimeError: If no step has been sent.
        """
        if self._pool.closed or not (self._sent or self._kept):
            raise RuntimeError("`send` must be called before `recv`.")
        self._receive()
        self._kept = False
        self.interrupted = self._pool.interrupted
        return map_timestep(np.copy, self._pool.newest)

    def step(self, action: Float32[np.ndarray, "num_envs action"]) -> TimeStep:
        """Steps every environment, as `send` and then `recv` do."""
        self._send(action)
        return self.recv()

    def get_state(self) -> EnvState:
        """What `set_state` needs to continue bit for bit; shares no memory.

        A step that was sent is received and belongs to the state: the next `recv` returns
        it, here and where the state is set.

        Raises:
            WorkerError: If a worker failed and no restart is left; the vector environment
                is closed.
            RuntimeError: After `close`.
        """
        self._check_open()
        self._receive()
        return {"pending": self._kept, **self._pool.get_state()}

    def set_state(self, state: EnvState) -> None:
        """Continues where a vector environment made with the same arguments was.

        Args:
            state: From `get_state`. The number of workers may have been another.

        Raises:
            ValueError: If `state` is one of another number of environments.
            WorkerError: If a worker failed or refused its state; the vector environment
                is closed.
            RuntimeError: If a step has been sent and not received, or after `close`.
        """
        self._check_open()
        if self._sent or self._kept:
            raise RuntimeError("`recv` must be called between `send` and `set_state`.")
        self._pool.set_state(state)
        self.interrupted = self._pool.interrupted
        self._kept = state["pending"]

    def close(self) -> None:
        """Closes the environments and ends their processes; may be called again."""
        self._pool.close()

    def __exit__(self, *_: object) -> None:
        """Calls `close`."""
        self.close()

    def _check_open(self) -> None:
        if self._pool.closed:
            raise RuntimeError("The vector environment is closed.")

    def _send(self, action: Float32[np.ndarray, "num_envs action"]) -> None:
        shape = (self.num_envs, self.spec.action_size)
        if action.shape != shape:
            raise ValueError(f"`action` must have shape {shape}, got {action.shape}.")
        self._check_open()
        if self._sent or self._kept:
            raise RuntimeError("`recv` must be called between two calls of `send`.")
        self._pool.send(action)
        self._sent = True

    def _receive(self) -> None:
        if self._sent:
            self._sent = False
            self._pool.recv()
            self._kept = True
