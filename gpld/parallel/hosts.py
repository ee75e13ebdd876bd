"""The processes of a run on several machines, and what they agree on."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax

from ..config import DistributedConfig
from ..errors import MachineError

T = TypeVar("T")
_DAY = 24 * 60 * 60 * 1000
"""Milliseconds, longer than any evaluation; a process that has died is noticed otherwise."""


@runtime_checkable
class Peers(Protocol):
    """All processes of a run, which call these functions in the same order."""

    index: int
    """Number of this process."""

    def gather(self, value: T) -> list[T]:
        """What every process says, this one included, as JSON can hold it."""
        ...

    def lately(self, name: str, value: T) -> list[T]:
        """What every process said the last time under this name, which none waits for."""
        ...

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Says what it means if the devices or the others do not answer."""
        ...


class Alone:
    """The only process."""

    index = 0

    def gather(self, value: T) -> list[T]:
        """What it says itself."""
        return [value]

    def lately(self, name: str, value: T) -> list[T]:
        """What it says itself, at once."""
        del name
        return [value]

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """There is nothing to explain."""
        return contextlib.nullcontext()


class Connected:
    """Processes that JAX has connected.

    They talk through its coordination service, past the devices, which go on meanwhile.
    """

    def __init__(self):
        """Of those that `connect` has connected."""
        from jax._src import distributed  # the service has no public name

        self._client: Any = distributed.global_state.client
        self.index, self._count = jax.process_index(), jax.process_count()
        self._calls: dict[str, int] = {}

    def gather(self, value: T) -> list[T]:
        """Waits for all."""
        return self._read("gather", self._say("gather", value))

    def lately(self, name: str, value: T) -> list[T]:
        """What was said one call ago has arrived everywhere; nothing the first time."""
        call = self._say(name, value)
        return self._read(name, call - 1) if call > 0 else []

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """That another process has ended, most likely.

        Raises:
            MachineError: In place of JAX's own error.
        """
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            raise MachineError(
                "Another process of the run has ended, or a device has failed; the same commands "
                f"go on from the last checkpoint. JAX says: {_first_line(error)}."
            ) from error

    def _say(self, name: str, value: Any) -> int:
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        self._client.key_value_set(self._key(name, call, self.index), json.dumps(value))
        if call >= 4:  # read by all, who have said something two calls later
            self._client.key_value_delete(self._key(name, call - 4, self.index))
        return call

    def _read(self, name: str, call: int) -> list[Any]:
        keys = [self._key(name, call, i) for i in range(self._count)]
        return [json.loads(self._client.blocking_key_value_get(key, _DAY)) for key in keys]

    def _key(self, name: str, call: int, index: int) -> str:
        return f"gpld/{name}/{call}/{index}"


def connect(config: DistributedConfig) -> None:
    """Connects this process to the others of its run, before JAX starts.

    Raises:
        MachineError: If they cannot be found.
    """
    if config.processes == 1:
        return
    jax.config.update("jax_enable_preemption_service", False)  # signals are ours
    try:
        jax.distributed.initialize(config.coordinator, config.processes, config.process_id)
    except (RuntimeError, ValueError) as error:
        raise MachineError(
            f"`--distributed.processes {config.processes}` cannot be connected: "
            f"{_first_line(error)}; name `--distributed.coordinator` and "
            "`--distributed.process_id` where no cluster does."
        ) from error


def find_peers() -> Peers:
    """The processes that this one is connected to."""
    return Alone() if jax.process_count() == 1 else Connected()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
