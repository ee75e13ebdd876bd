"""Memory that this process can still take, on the machine and on JAX's device."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import psutil


class _Names(NamedTuple):
    """Names by which a control group tells of its memory."""

    limit: str
    """File with what it may use."""

    usage: str
    """File with what it uses."""

    cached: str
    """Line of `memory.stat` with what is given back when memory runs short: cached files."""


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("memory.max", "memory.current", "inactive_file")


def available_memory(
    *, groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the bytes of memory that this process can still take without swapping.

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
            root, names = groups, _V2
        elif "memory" in controllers.split(","):
            root, names = groups / "memory", _V1
        else:
            continue
        own = root / path.strip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left_by_group(group, names)


def _left_by_group(group: Path, names: _Names) -> Iterator[int]:
    try:
        limit = (group / names.limit).read_text().strip()
        usage = int((group / names.usage).read_text())
        stat = (group / "memory.stat").read_text()
    except OSError:  # in a container, only its own part is mounted
        return
    if limit == "max":
        return
    cached = dict(line.split() for line in stat.splitlines()).get(names.cached, "0")
    yield max(0, int(limit) - usage + int(cached))


def device_memory() -> int | None:
    """Return the bytes that JAX can still take on its device; None where that is the host."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    return None if limit is None else limit - statistics["bytes_in_use"]
