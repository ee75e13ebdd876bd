"""Many environments of one task behind one batched time step."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...errors import UsageError
from ..failures import Failures, TooManyFailuresError, WorkerError, find_spoilt
from ..timestep import (
    ANEW,
    EnvSpec,
    EnvState,
    TimeStep,
    blank_timestep,
    check_same,
    join_timesteps,
    map_timestep,
)
from .group import Actions, Group, LostGroup, Mask
from .worker import Worker


class VectorEnv(contextlib.AbstractContextManager):
    """Environments stepped together, each reset automatically after its last time step.

    The first step resets all of them. Later, an environment whose previous time step
    had `is_last` is reset by the step that follows: its action is ignored, its reward
    is 0 and its time step has `is_first`. As a context manager it closes itself.

    A worker that dies, raises an exception or does not answer in time is replaced, and so is an
    environment of one's own in this process that raises one, if
    more failures are allowed, by one with new environments. The episodes that went with it
    are truncated: their time step repeats the observation before it, with reward 0 and
    `is_last`, and the next step resets. An environment that was due for its reset has
    lost nothing and is reset at once.

    One failure more than is allowed closes it, after the step in which it came. Its last state is
    kept for `get_state`: where that is set, what has failed is made anew.

    An observation or reward that is not finite truncates its episode in the same way and
    counts as such a failure, whatever steps the environment. Where a reset gives one, that
    time step has `is_first` as well: nobody is shown the number.

    Attributes:
        spec: Shapes and sizes of the task.
        num_envs: Number of environments, the batch axis of actions and time steps.
        newest: The time step that was received last, valid until the next `send`; before the
            first step, zeros with `is_last`.
        pending: True if a step was sent that `recv` has not returned yet.
        interrupted: Environments whose episode was ended, by the time step that `recv` has
            returned last, for no reason of the task's: because they had failed, or were to
            be out of phase (`stagger`). Such an episode has no score.
    """

    spec: EnvSpec
    num_envs: int
    newest: TimeStep
    pending: bool
    interrupted: Mask

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        task: str = "the task",
        max_failures: int = 0,
        replace: Callable[..., Group] | None = None,
        replace_failed: bool = True,
    ):
        """Take over `groups`, at least one; their environments keep their order.

        Args:
            groups: The environments.
            task: What messages call the task.
            max_failures: Failures that are allowed in all.
            replace: Makes another group in place of the one of an index. More arguments are for
                seeds that none had before: the number of the failure, counted over all
                environments, and, where a state is set, that of the steps. None where nothing is
                replaced.
            replace_failed: Whether that is for groups that have failed, too.

        Raises:
            WorkerError: If a worker could not make its environments; all are closed.
        """
        self._groups = list(groups)
        self._task, self._replace, self._replace_failed = task, replace, replace_failed
        try:
            self.spec, *_ = [group.spec for group in groups]  # waits for all
        except BaseException:
            self.close()
            raise
        self._failures = Failures(task, self.spec, max_failures)
        self._error: TooManyFailuresError | None = None
        self._last_state: EnvState | None = None
        ends = np.cumsum([group.num_envs for group in groups]).tolist()
        self._parts = [slice(*ends) for ends in zip([0, *ends[:-1]], ends, strict=True)]
        self.num_envs = ends[-1]
        self.newest = join_timesteps(np.stack, [blank_timestep(self.spec)] * self.num_envs)
        # `interrupted` of the newest time step, which may not have been returned yet.
        self._interrupted = self.interrupted = np.zeros(self.num_envs, bool)
        # Environments that were made anew in the middle of an episode.
        self._renewed = np.zeros(self.num_envs, bool)
        self.pending = False
        # Whether the pending step is on its way. Otherwise it has been received.
        self._sent = False
        self._num_steps = 0

    @property
    def num_restarts(self) -> int:
        """Number of failures so far, also before the state was taken that was set here."""
        return self._failures.count

    @property
    def failures(self) -> list[str]:
        """Messages of what failed here and what became of it, in order."""
        return self._failures.messages

    def no_action(self) -> Actions:
        """Return actions for a step that heeds none, as the first does: zeros."""
        return np.zeros((self.num_envs, *self.spec.action.shape), self.spec.action.dtype)

    def send(self, action: Actions) -> None:
        """Start a step; workers or threads carry it out while the caller goes on.

        Raises:
            ValueError: If `action` has the wrong shape, or is no integer where it is discrete.
            RuntimeError: If the previous step has not been received, or after `close`.
        """
        self._send(action)
        for group in self._groups:
            group.start()

    def wait(self) -> None:
        """Wait for the step that `send` has started, and leave it to `recv`.

        Raises:
            WorkerError: As `recv`.
            RuntimeError: If no step has been sent.
        """
        self._check_sent("wait")
        self._receive()
        self._raise_if_too_many()

    def recv(self) -> TimeStep:
        """Wait for the step that `send` has started; the arrays are new each time.

        Raises:
            WorkerError: If a worker failed or a number is not finite, and no more failures are
                allowed; the vector environment is closed.
            RuntimeError: If no step has been sent.
        """
        self._check_sent("recv")
        self._receive()
        self._raise_if_too_many()
        self.pending = False
        self.interrupted = self._interrupted
        return map_timestep(np.copy, self.newest)

    def step(self, action: Actions) -> TimeStep:
        """Step every environment, as `send` and then `recv` do; no thread is woken for it."""
        self._send(action)
        return self.recv()

    def get_state(self) -> EnvState:
        """Return what `set_state` needs to continue bit for bit; shares no memory.

        A step that was sent is received and belongs to the state: the next `recv` returns
        it, here and where the state is set.

        Raises:
            WorkerError: If a worker failed that is not to be replaced.
            RuntimeError: After `close`, unless one failure too many has closed it.
        """
        if self._last_state is not None:
            return self._last_state
        self._check_open()
        self._receive()
        with self._closed_on_failure():
            states = [state for i in range(len(self._groups)) for state in self._get_states(i)]
        return {
            "pending": self.pending,
            "envs": {str(i): state for i, state in enumerate(states)},
            "renewed": self._renewed.copy(),
            "timestep": map_timestep(np.copy, self.newest)._asdict(),
            "interrupted": self._interrupted.copy(),
            # With the one too many, which counts once it is gone on from.
            "num_restarts": self._failures.count + (self._error is not None),
            "num_steps": self._num_steps,
        }

    def set_state(self, state: EnvState) -> None:
        """Continue where a vector environment made with the same arguments was.

        Episodes of environments that have no state end as those that went with a failed worker.
        These environments are made anew, with seeds that follow from the steps so far: they would
        repeat the first episodes otherwise, and so they go on alike from the same state.

        Args:
            state: From `get_state`. The number of workers may have been another.

        Raises:
            ValueError: If `state` is one of another number of environments.
            WorkerError: If a worker failed or refused its state; the vector environment
                is closed.
            RuntimeError: If a step has been sent and not received, or after `close`.
        """
        self._check_idle("set_state")
        envs = state["envs"]
        if len(envs) != self.num_envs:
            raise ValueError(f"`state` must hold {self.num_envs} environments, got {len(envs)}.")
        states = [envs[str(i)] for i in range(self.num_envs)]
        anew = np.array([ANEW in own for own in states])
        self._failures.count = state["num_restarts"]
        # Older states do not say it: of environments that had begun.
        self._num_steps = state.get("num_steps", 1)
        with self._closed_on_failure():
            made = []
            for index, part in enumerate(self._parts):
                if anew[part].any() and self._replace is not None:
                    self._groups[index].close()
                    group = self._replace(index, self._failures.count, self._num_steps)
                    self._groups[index] = group
                    made.append(group)
            for group in made:  # which start at the same time
                self._check_code(group)
            for group, part in zip(self._groups, self._parts, strict=True):
                group.set_states(states[part])
        self._renewed = state["renewed"].copy()
        self.newest = map_timestep(np.copy, TimeStep(**state["timestep"]))
        self._renewed |= anew & ~self.newest.is_last
        self._interrupted = self.interrupted = state["interrupted"].copy()
        self.pending = state["pending"]

    def cut(self, envs: Mask) -> None:
        """End the episodes of some environments with the time step that was returned last.

        Raises:
            RuntimeError: If a step has been sent and not received, or after `close`.
        """
        self._check_idle("cut")
        self.newest.is_last[envs] = True

    def close(self) -> None:
        """Close the environments and end their processes; may be called again."""
        groups, self._groups = self._groups, []
        with contextlib.ExitStack() as stack:  # every group is closed, also after one that fails
            for group in groups:
                stack.callback(group.close)
            for group in groups:
                if isinstance(group, Worker):
                    group.hang_up()  # all exit at the same time

    def __exit__(self, *_: object) -> None:
        """Call `close`."""
        self.close()

    def _check_open(self) -> None:
        if not self._groups:
            raise RuntimeError("The vector environment is closed.")

    def _check_idle(self, caller: str) -> None:
        self._check_open()
        if self.pending:
            raise RuntimeError(f"A step was sent: `recv` must be called before `{caller}`.")

    def _check_sent(self, caller: str) -> None:
        if not (self._groups and self.pending):
            raise RuntimeError(f"`send` must be called before `{caller}`.")

    def _send(self, action: Actions) -> None:
        one = self.spec.action
        shape = (self.num_envs, *one.shape)
        if action.shape != shape:
            raise ValueError(f"`action` must have shape {shape}, got {action.shape}.")
        if action.dtype.kind != one.dtype.kind:
            raise ValueError(f"`action` must be of {one.dtype}, got {action.dtype}.")
        self._check_idle("send")
        for group, part in zip(self._groups, self._parts, strict=True):
            group.send(action[part], self._renewed[part], self.newest.is_last[part])
        self.pending = self._sent = True
        self._num_steps += 1

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except (WorkerError, UsageError):
            self.close()
            raise

    def _receive(self) -> None:
        """Wait for the step if one was sent, and truncate the episodes of what has failed."""
        if not self._sent:
            return
        self.pending = self._sent = False
        with self._closed_on_failure():
            steps = [self._recv(i) for i in range(len(self._groups))]
            stepped = join_timesteps(np.concatenate, steps)
            spoilt = find_spoilt(stepped)
            try:
                self._failures.add_spoilt(spoilt)
            except TooManyFailuresError as error:
                self._error = self._error or error
        failed, self._renewed = self._renewed | (spoilt > 0), np.zeros(self.num_envs, bool)
        for group, part in zip(self._groups, self._parts, strict=True):
            failed[part] |= isinstance(group, LostGroup)
        self._interrupted = failed.copy()
        for group, part in zip(self._groups, self._parts, strict=True):
            self._interrupted[part] |= group.interrupted
        if failed.any():  # `is_first` stays, where a reset gives such a number
            for key, array in stepped.observation.items():
                array[failed] = self.newest.observation[key][failed]
            stepped.reward[failed] = 0
            stepped.is_last[failed] = True
            stepped.is_terminal[failed] = False
        self.newest = stepped
        self.pending = True

    def _raise_if_too_many(self) -> None:
        """Close the environments if they have failed once too often, and keep their state.

        Raises:
            TooManyFailuresError: If they have.
        """
        if self._error is not None:
            self._last_state = self.get_state()
            self.close()
            raise self._error

    def _recv(self, index: int) -> TimeStep:
        while True:
            try:
                return self._groups[index].recv()
            except (WorkerError, UsageError) as error:
                self._renew(index, error)
                # Their first step resets or skips new environments: no action is heeded.
                part = self._parts[index]
                due = self.newest.is_last[part]
                self._groups[index].send(self.no_action()[part], self._renewed[part], due)

    def _get_states(self, index: int) -> list[EnvState]:
        while True:
            try:
                return self._groups[index].get_states()
            except (WorkerError, UsageError) as error:
                self._renew(index, error)

    def _renew(self, index: int, error: WorkerError | UsageError) -> None:
        """Replace a worker that has failed; the replacement may turn out to have failed as well.

        Raises:
            WorkerError: The failure, like the next, if nothing is to be replaced.
            UsageError: As before.
        """
        self._groups[index].close()
        if self._replace is None or not self._replace_failed:
            raise error
        part = self._parts[index]
        self._renewed[part] = ~self.newest.is_last[part]
        while self._failures.allowed:
            self._failures.add(f"{error} It was replaced, and its episodes are truncated.")
            try:
                self._groups[index] = self._replace(index, self._failures.count)
                self._check_code(self._groups[index])
                return
            except (WorkerError, UsageError) as again:
                error = again
        if self._error is None:
            self._error = self._failures.one_more(str(error))
            for note in getattr(error, "__notes__", ()):
                self._error.add_note(note)
        self._groups[index] = LostGroup(self.spec, part.stop - part.start)

    def _check_code(self, group: Group) -> None:
        """Wait for a group that takes the place of another, and check that it has its arrays.

        Raises:
            WorkerError: If it cannot be made.
            UsageError: If it has others; it is closed then, as before.
        """
        subject = f"The code of {self._task} has changed: its environment now"
        try:
            check_same(subject, group.spec, "the run", self.spec)
        except (WorkerError, UsageError):
            group.close()
            raise
