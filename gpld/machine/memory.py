"""Whether a machine has room for a replay, and what would fit if it has not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import psutil

from ..errors import UsageError
from ..replay import stream_length
from ..units import byte_size


class _GroupFiles(NamedTuple):
    """Where a control group says what it may use and uses."""

    limit: str
    usage: str
    reclaimable: str
    """Line of `memory.stat` with what is given back when memory runs short: cached files."""


_V1 = _GroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _GroupFiles("memory.max", "memory.current", "inactive_file")


def available_memory(
    *, groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Bytes of memory that this process can still take without swapping.

    What the machine has, or what the limits of a container or of a scheduler's job leave:
    those of the process's control group and of all groups around it.

    Args:
        groups: Where control groups are mounted.
        membership: File with the groups of this process.
    """
    return min([psutil.virtual_memory().available, *_left_by_groups(groups, membership)])


def _left_by_groups(groups: Path, membership: Path) -> Iterator[int]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, files = groups, _V2
        elif "memory" in controllers.split(","):
            root, files = groups / "memory", _V1
        else:
            continue
        own = root / path.strip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left_by_group(group, files)


def _left_by_group(group: Path, files: _GroupFiles) -> Iterator[int]:
    try:
        limit = (group / files.limit).read_text().strip()
        usage = int((group / files.usage).read_text())
        stat = (group / "memory.stat").read_text()
    except OSError:  # in a container, only its own part is mounted
        return
    if limit == "max":
        return
    reclaimable = dict(line.split() for line in stat.splitlines()).get(files.reclaimable, "0")
    yield max(0, int(limit) - usage + int(reclaimable))


def device_memory() -> int | None:
    """Bytes of memory that JAX can still take on its device; None where that is the host."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    return None if limit is None else limit - statistics["bytes_in_use"]


def check_replay_fits(
    *,
    step_bytes: int,
    num_streams: int,
    window: int,
    capacity: int,
    max_steps: int,
    storage: Literal["ram", "disk", "device"],
    memory: int,
    disk: int,
    other_bytes: int,
) -> None:
    """Refuses a replay that would not fit once it is full.

    Args:
        step_bytes: Bytes of one step of one stream.
        num_streams: Number of streams.
        window: Steps per window.
        capacity: Windows kept, over all streams.
        max_steps: Steps that will be added to each stream at most.
        storage: Where the replay is to be.
        memory: Bytes of memory that are there, on the device if the replay is to be there
            (`available_memory`, `device_memory`).
        disk: Bytes that the replay may take on disk.
        other_bytes: Bytes of memory that the rest of the run needs.

    Raises:
        UsageError: If it would not fit; the message names the settings that would.
    """
    needed = step_bytes * num_streams * stream_length(num_streams, window, capacity, max_steps)
    beside = max(0, memory - other_bytes)
    room = {"ram": beside, "device": beside, "disk": disk}
    if needed <= room[storage]:
        return
    fitting = []
    length = room[storage] // (step_bytes * num_streams)
    if (windows := _round_down((length - window + 1) * num_streams)) >= num_streams:
        fitting.append(f"`--replay.capacity {windows}`")
    if (env_steps := _round_down(length * num_streams)) >= window * num_streams:
        fitting.append(f"`--env_steps {env_steps}`")
    other = {"ram": "disk", "disk": "ram", "device": None}[storage]
    if other is not None and needed <= room[other]:
        fitting.append(f"`--replay.storage {other}`")
    rest = (
        f"beside the {byte_size(other_bytes)} of the rest of the run {byte_size(beside)} are free"
    )
    place = {
        "ram": f"of memory once it is full, but {rest}",
        "device": f"of device memory, but {rest}",
        "disk": f"of disk, but {byte_size(disk)} are free",
    }
    advice = f"It fits with {' or '.join(fitting)}." if fitting else "No setting of it fits."
    raise UsageError(f"The replay takes {byte_size(needed)} {place[storage]}. {advice}")


def _round_down(number: int) -> int:
    """The largest number below with two digits and zeros."""
    if number <= 0:
        return 0
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit
