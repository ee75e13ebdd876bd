"""Several machines: the processes of one run, and how they exchange values."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, TypeVar

import jax

from ..config import DistributedConfig
from ..errors import MachineError

T = TypeVar("T")
_DAY = 24 * 60 * 60 * 1000
"""Milliseconds, longer than any evaluation; a process that has died is noticed otherwise."""


class Processes:
    """All processes of a run, which call these methods in the same order.

    They talk through JAX's coordination service, past the devices, which go on meanwhile. A
    process without others answers itself.

    Attributes:
        index: Number of this process.
        count: Number of all.
    """

    def __init__(self, index: int = 0, count: int = 1):
        """Describe this process; several must have been connected with `connect`."""
        self.index, self.count = index, count
        self._calls: dict[str, int] = {}

    def gather(self, value: T) -> list[T]:
        """Wait for every process's value, this one's included, as JSON can hold it."""
        return [value] if self.count == 1 else self._read("gather", self._say("gather", value))

    def latest(self, name: str, value: T) -> list[T]:
        """Return the value that each process gave under this name last; does not block.

        What was given one call ago has arrived everywhere; the first call returns nothing.
        """
        if self.count == 1:
            return [value]
        call = self._say(name, value)
        return self._read(name, call - 1) if call > 0 else []

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Explain errors of JAX by what most likely happened: another process has ended.

        Raises:
            MachineError: In place of JAX's own error.
        """
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if self.count == 1:
                raise
            raise MachineError(
                "Another process of the run has ended, or a device has failed; the same commands "
                f"go on from the last checkpoint. JAX says: {_first_line(error)}."
            ) from error

    def _say(self, name: str, value: Any) -> int:
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        _client().key_value_set(f"gpld/{name}/{call}/{self.index}", json.dumps(value))
        if call >= 4:  # read by all, who have said something two calls later
            _client().key_value_delete(f"gpld/{name}/{call - 4}/{self.index}")
        return call

    def _read(self, name: str, call: int) -> list[Any]:
        keys = [f"gpld/{name}/{call}/{i}" for i in range(self.count)]
        return [json.loads(_client().blocking_key_value_get(key, _DAY)) for key in keys]


def connect(config: DistributedConfig) -> None:
    """Connect this process to the others of its run, before JAX starts.

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


def find_processes() -> Processes:
    """Return the processes that this one is connected to."""
    return Processes(jax.process_index(), jax.process_count())


def _client() -> Any:
    """Return the client of JAX's coordination service, which has no public name."""
    from jax._src import distributed

    return distributed.global_state.client


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
