"""Parts of the check, and what each of them is given."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .sizes import Sizes

Row = tuple[str, Mapping[str, Any]]
"""Name and figures of something that was measured; figures of the same name are put together."""


class Task(NamedTuple):
    """Everything that a part is given."""

    sizes: Sizes
    folder: Path
    """A folder of its own, for runs and traces."""

    deadline: float
    """When its process is killed, on the clock of `time.monotonic`, which processes share."""

    @property
    def seconds(self) -> float:
        """Seconds until then."""
        return self.deadline - time.monotonic()


class Part(NamedTuple):
    """One part of the check, which runs in a process of its own."""

    name: str
    measure: Callable[[Task], Iterator[Row]]
    """A function of a module; every row is saved when it comes."""

    share: float
    """Share of the time that is kept for it; what earlier parts have left it may use as well."""

    xla_flags: tuple[str, ...] = ()
    """Options of XLA in its process, besides those that the user has set."""
