"""Compiled programs are kept on disk, so that the next start of a run takes seconds.

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
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax

# Touched when all files written before were found complete.
_CHECKED = ".checked"

# JAX's names: what was compiled, and a hash of it and of all that it depends on.
_PROGRAMS = f"*-{'[0-9a-f]' * 64}-cache"


class Reuse(NamedTuple):
    """Where the programs of this process came from."""

    programs: int
    """Programs that were needed so far."""

    from_cache: int
    """Those of them that were not compiled but read."""


def cache_compilations() -> None:
    """Keeps compiled programs on disk, also small ones, and deletes incomplete files there.

    `JAX_COMPILATION_CACHE_DIR` chooses another place.
    """
    _events()
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
                if path.stat().st_mtime_ns >= since and not _is_complete(path.read_bytes()):
                    path.unlink()
                    removed.append(path)
            mark.replace(checked)
    return removed


def _is_complete(data: bytes) -> bool:
    """Whether data can be decompressed and have the checksum that they end in."""
    decompress = zlib.decompress
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        zstd = _zstd()
        if zstd is None:
            return True  # another environment's, which must know
        decompress = zstd.decompress
    try:
        decompress(data)
    except Exception:  # each of the packages has its own
        return False
    return True


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
