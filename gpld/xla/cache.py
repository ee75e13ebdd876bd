"""Compiled programs on disk, so that the next start of a run takes seconds.

The module also knows which program is being compiled, to be shown: that takes minutes.
"""

import contextlib
import functools
import os
import re
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import jax

# JAX's names: what was compiled, and a hash of it and of all that it depends on.
_HASH = f"{'[0-9a-f]' * 64}-cache"

# Of the programs of the same name those that were compiled last say how long it takes.
_RECENT = 5

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
"""Stages of a program, by the names of JAX's events. One that was compiled before is read in
the last stage."""

# Levels of XLA's own log: what JAX has chosen, and what kills the process.
_USUAL_LEVEL, _FATAL_LEVEL = "1", 3


class InWork(NamedTuple):
    """A program that is not ready yet."""

    stage: str
    """One of `STAGES`."""

    name: str
    seconds: float
    """Seconds in this stage so far."""


def cache_compilations() -> None:
    """Keep compiled programs on disk, also small ones.

    `JAX_COMPILATION_CACHE_DIR` chooses another place. A process that is killed while JAX writes
    the file of a program leaves a part of it: JAX then warns at every start, naming the program,
    and compiles it again, until the file is deleted.
    """
    _work()
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None and (cache := _cache_home()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache / "gpld" / "jax"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # By default those below a second are not kept; a start needs two dozen of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _cache_home() -> Path | None:
    """Folder in which programs of this user keep what can be made again.

    None for a user whom the system does not know, as in containers, without HOME: a folder that
    others may write to is no place for programs that are run.
    """
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def in_work() -> InWork | None:
    """Return the program that is made ready just now, in any thread; None if there is none."""
    return _work().current()


def seconds_of_work() -> float:
    """Return the seconds that have gone into programs so far, since anything was asked first."""
    return _work().seconds


def usual_seconds(name: str) -> tuple[int, int] | None:
    """Return the least and the most seconds that programs of a name took to compile here.

    JAX keeps them with every program. Those of the last few count, whatever their sizes.

    Returns:
        Least and most; None if no such program is there.
    """
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    files = []
    with contextlib.suppress(OSError):  # there is none, or another process clears it
        files = list(Path(folder or "").glob(f"jit_{re.sub('[^0-9A-Za-z_]', '_', name)}-{_HASH}"))
        files.sort(key=lambda path: path.stat().st_mtime)
    seconds = [x for x in map(_compile_seconds, files[-_RECENT:]) if x is not None]
    return (min(seconds), max(seconds)) if seconds else None


def silence(silent: bool) -> None:
    """Keep XLA's own log, with its alarm about slow compilations, from the terminal.

    What kills the process is shown all the same, and errors are raised. A level that the user
    has chosen (`TF_CPP_MIN_LOG_LEVEL`) stands.
    """
    usual = os.environ.get("TF_CPP_MIN_LOG_LEVEL", _USUAL_LEVEL)
    if usual == _USUAL_LEVEL:
        with contextlib.suppress(ImportError, AttributeError):
            # There is no public name for it.
            from jax._src.lib import utils  # pyright: ignore[reportPrivateImportUsage]

            utils.absl_set_min_log_level(_FATAL_LEVEL if silent else int(usual))


def _compile_seconds(file: Path) -> int | None:
    """Seconds that a program took to compile, from its file; None if it cannot be read."""
    with contextlib.suppress(Exception):  # a part of a file, or another version's
        from jax._src import compilation_cache as jax_cache  # which has no public name

        data = jax_cache.decompress_executable(file.read_bytes())
        return jax_cache.extract_executable_and_time(data)[1]
    return None


class _Work:
    """Listener to JAX's events about programs; to trace one may mean to trace others."""

    def __init__(self):
        self._stacks = defaultdict[int, list[tuple[str, str, float]]](list)  # by thread
        self.seconds = 0.0
        jax.monitoring.register_scalar_listener(self._begins)
        jax.monitoring.register_event_duration_secs_listener(self._ends)

    def current(self) -> InWork | None:
        outermost = [work for stack in list(self._stacks.values()) for work in stack[:1]]
        if not outermost:
            return None
        stage, name, since = min(outermost, key=lambda work: work[2])
        return InWork(stage, name, time.monotonic() - since)

    def _begins(self, event: str, value: float | int, **about: Any) -> None:
        if event in STAGES:
            name = re.sub(r"^\w+\((.*)\)$", r"\1", str(about.get("fun_name", "")))
            work = (STAGES[event], name, time.monotonic())
            self._stacks[threading.get_ident()].append(work)

    def _ends(self, event: str, duration_secs: float, **_: Any) -> None:
        stack = self._stacks[threading.get_ident()]
        if event in STAGES and stack:  # else it began before anybody listened
            stack.pop()
            if not stack:
                self.seconds += duration_secs


@functools.cache
def _work() -> _Work:
    """The one listener, from the first call on."""
    return _Work()
