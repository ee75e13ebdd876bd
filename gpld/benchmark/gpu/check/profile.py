"""A profile of some updates: a trace to look at, and the kernels that take most of its time."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax

from ....config.flags import parse_settings
from ....errors import MachineError
from ....training.profiling import Profiler
from ....xla.cache import cache_compilations
from ...measure import progress
from .part import Row, Task
from .update import compile_update

# Updates before the trace and in it, more than `Profiler` leaves out at the beginning.
_BEFORE = 12
_KERNELS = 20


def profile(task: Task) -> Iterator[Row]:
    """Yield the file of the trace, then the kernels of the device by the time that they take."""
    cache_compilations()
    update = compile_update(parse_settings(task.sizes.update))
    folder, traced = task.folder / "trace", task.sizes.traced
    with Profiler(folder, traced, progress) as profiler:
        for number in range(_BEFORE + traced):
            profiler.round(number)
            jax.block_until_ready(update.run())
    found = sorted(folder.glob("plugins/profile/*/perfetto_trace.json.gz"))
    if not found:
        raise MachineError("The profiler left no trace.")
    yield "trace", {"updates": traced, "file": str(found[-1])}
    for name, (count, milliseconds) in kernels(found[-1]).items():
        yield name, {"ms": milliseconds / traced, "times": count / traced}


def kernels(trace: Path) -> Mapping[str, tuple[int, float]]:
    """Return how often the longest kernels of a trace ran, and for how many ms, all runs together.

    Args:
        trace: A file in Chrome's format, compressed; kernels are what has run in the streams of a
            process that is called a device, such as `/device:GPU:0`.
    """
    with gzip.open(trace, "rt") as file:
        events = json.load(file)["traceEvents"]
    # What is not a stream sums up the kernels, as operations and modules.
    names = {
        kind: {
            (event["pid"], event.get("tid") if kind == "thread_name" else None): name
            for event in events
            if event.get("name") == kind and (name := event.get("args", {}).get("name"))
        }
        for kind in ("process_name", "thread_name")
    }
    counts, durations = Counter[str](), defaultdict[str, float](float)
    for event in events:
        pid, tid = event.get("pid"), event.get("tid")
        process = names["process_name"].get((pid, None), "")
        thread = names["thread_name"].get((pid, tid), "")
        if event.get("ph") == "X" and process.startswith("/device") and "Stream" in thread:
            counts[event["name"]] += 1
            durations[event["name"]] += event["dur"] / 1e3
    total = sum(counts.values()), sum(durations.values())
    longest = sorted(durations.items(), key=lambda item: -item[1])[:_KERNELS]
    return {"all kernels": total} | {name: (counts[name], ms) for name, ms in longest}
