"""Memory that this process can still take, on the machine and on JAX's device."""

from collections.abc import Iterator
from pathlib import Path

import jax
import psutil

# Files in which a control group says what it may use and uses, and the line of `memory.stat` with
# what is given back when memory runs short: cached files.
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


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
            root, files = groups, _V2
        elif "memory" in controllers.split(","):
            root, files = groups / "memory", _V1
        else:
            continue
        own = root / path.strip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left_by_group(group, files)


def _left_by_group(group: Path, files: tuple[str, str, str]) -> Iterator[int]:
    limit_file, usage_file, reclaimable = files
    try:
        limit = (group / limit_file).read_text().strip()
        usage = int((group / usage_file).read_text())
        stat = (group / "memory.stat").read_text()
    except OSError:  # in a container, only its own part is mounted
        return
    if limit == "max":
        return
    cached = dict(line.split() for line in stat.splitlines()).get(reclaimable, "0")
    yield max(0, int(limit) - usage + int(cached))


def device_memory() -> int | None:
    """Return the bytes that JAX can still take on its device; None where that is the host."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    return None if limit is None else limit - statistics["bytes_in_use"]
