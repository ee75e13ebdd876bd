"""Compiled programs are kept on disk, so that the next start of a run takes seconds.

What is being compiled just now is known as well, to be shown: it takes minutes.

JAX (0.10.2) writes the file of a program in place, so a process that is killed meanwhile
leaves a part of it. JAX never writes a file that exists: from then on every start would warn
and compile that program anew. A limit of the cache's size (`jax_compilation_cache_max_size`)
is no remedy: its lock ends with the killed process, and where the file with the time of the
last access is missing beside a program, nothing is written any more. So incomplete files are
deleted at the start, before JAX looks at them.
"""

import contextlib
import functools
import importlib
import os
import re
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax

# Touched when all files written before were found complete.
_CHECKED = ".checked"

# JAX's names: what was compiled, and a hash of it and of all that it depends on.
_HASH = f"{'[0-9a-f]' * 64}-cache"
_PROGRAMS = f"*-{_HASH}"

# Of the programs of the same name those that were compiled last say how long it takes.
_RECENT = 5

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
"""What a program goes through, by the names of JAX's events. Those that were compiled before
are read in the last stage."""

# Levels of XLA's own log: what JAX has chosen, and what kills the process.
_USUAL_LEVEL, _FATAL_LEVEL = "1", 3


class Reuse(NamedTuple):
    """Where the programs of this process came from."""

    programs: int
    """Programs that were needed so far."""

    from_cache: int
    """Those of them that were not compiled but read."""


class InWork(NamedTuple):
    """A program that is not ready yet."""

    stage: str
    """What is done to it: one of `STAGES`."""

    name: str
    seconds: float
    """In this stage so far."""


def cache_compilations() -> None:
    """Keeps compiled programs on disk, also small ones, and deletes incomplete files there.

    `JAX_COMPILATION_CACHE_DIR` chooses another place.
    """
    _events()
    _work()
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None and (cache := _cache_home()) is not None:
        folder = str(cache / "gpld" / "jax")
        jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # By default those below a second are not kept; a start needs two dozen of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if folder:
        remove_incomplete(Path(folder))


def _cache_home() -> Path | None:
    """Where programs of this user keep what can be made again.

    None for a user whom the system does not know, as in containers, without HOME: a folder that
    others may write to is no place for programs that are run.
    """
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def reuse() -> Reuse | None:
    """Where programs came from since `cache_compilations`; None if none was looked for."""
    events = _events()
    programs = events["/jax/compilation_cache/compile_requests_use_cache"]
    return Reuse(programs, events["/jax/compilation_cache/cache_hits"]) if programs else None


def in_work() -> InWork | None:
    """The program that is made ready just now, in whichever thread; None if there is none."""
    return _work().current()


def seconds_of_work() -> float:
    """Seconds that have gone into programs so far, since anything was asked first."""
    return _work().seconds


def usual_seconds(name: str) -> tuple[int, int] | None:
    """The least and the most seconds that programs of a name took to compile here.

    JAX keeps them with every program. Those of the last few count, whatever their sizes.

    Returns:
        Least and most; None if no such program is there.
    """
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    seconds = []
    with contextlib.suppress(OSError):  # there is none, or another process clears it
        files = list(Path(folder or "").glob(f"jit_{re.sub('[^0-9A-Za-z_]', '_', name)}-{_HASH}"))
        files.sort(key=lambda path: path.stat().st_mtime)
        for path in files[-_RECENT:]:
            if data := _decompressed(path.read_bytes()):
                seconds.append(int.from_bytes(data[:4], "big"))
    return (min(seconds), max(seconds)) if seconds else None


def silence(silent: bool) -> None:
    """Keeps XLA's own log from the terminal, where it raises an alarm about slow compilations.

    What kills the process is shown all the same, and errors are raised. A level that the user
    has chosen (`TF_CPP_MIN_LOG_LEVEL`) stands.
    """
    usual = os.environ.get("TF_CPP_MIN_LOG_LEVEL", _USUAL_LEVEL)
    if usual == _USUAL_LEVEL:
        with contextlib.suppress(ImportError, AttributeError):
            # There is no public name for it.
            from jax._src.lib import utils  # pyright: ignore[reportPrivateImportUsage]

            utils.absl_set_min_log_level(_FATAL_LEVEL if silent else int(usual))


def remove_incomplete(folder: Path) -> list[Path]:
    """Deletes the files of programs of which a part is missing.

    Reads those that were written since the last time. One that another process is writing
    just now may be among the deleted; that process does not notice, and the next that needs
    the program writes it again.

    Args:
        folder: Where JAX keeps compiled programs; there may be none.

    Returns:
        What was deleted.
    """
    removed: list[Path] = []
    with contextlib.suppress(OSError):  # read-only, or cleared by another process meanwhile
        mark, checked = folder / f"{_CHECKED}.new", folder / _CHECKED
        since = checked.stat().st_mtime_ns if checked.exists() else 0
        if folder.is_dir():
            mark.write_bytes(b"")  # its time is that of the file system, as theirs is
            for path in folder.glob(_PROGRAMS):
                if path.stat().st_mtime_ns >= since and _decompressed(path.read_bytes()) is None:
                    path.unlink()
                    removed.append(path)
            mark.replace(checked)
    return removed


def _decompressed(data: bytes) -> bytes | None:
    """What a file holds; None if it cannot be decompressed or has not the checksum in it."""
    decompress = zlib.decompress
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        zstd = _zstd()
        if zstd is None:
            return b""  # another environment's, which must know
        decompress = zstd.decompress
    try:
        return decompress(data)
    except Exception:  # each of the packages has its own
        return None


def _zstd() -> Any:
    """What JAX takes instead of zlib, where it is installed."""
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


@functools.cache
def _events() -> Counter[str]:
    """What JAX tells about its cache, by name; counted from the first call on."""
    events: Counter[str] = Counter()
    jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))
    return events


class _Work:
    """Listens to what JAX tells about programs; to trace one may mean to trace others."""

    def __init__(self):
        self._depths: Counter[int] = Counter()
        self._running: dict[int, tuple[str, str, float]] = {}
        self.seconds = 0.0
        jax.monitoring.register_scalar_listener(self._begins)
        jax.monitoring.register_event_duration_secs_listener(self._ends)

    def current(self) -> InWork | None:
        now = time.monotonic()
        running = [
            InWork(stage, name, now - since) for stage, name, since in list(self._running.values())
        ]
        return max(running, key=lambda work: work.seconds, default=None)

    def _begins(self, event: str, value: float | int, **about: Any) -> None:
        if event not in STAGES:
            return
        thread = threading.get_ident()
        self._depths[thread] += 1
        if self._depths[thread] == 1:
            name = re.sub(r"^\w+\((.*)\)$", r"\1", str(about.get("fun_name", "")))
            self._running[thread] = (STAGES[event], name, time.monotonic())

    def _ends(self, event: str, duration_secs: float, **_: Any) -> None:
        if event not in STAGES:
            return
        thread = threading.get_ident()
        if self._depths[thread] == 0:
            return  # it began before anybody listened
        self._depths[thread] -= 1
        if self._depths[thread] == 0:
            self._running.pop(thread, None)
            self.seconds += duration_secs


@functools.cache
def _work() -> _Work:
    """Listens from the first call on."""
    return _Work()
