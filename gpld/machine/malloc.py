"""Settings of glibc's malloc: freed memory is kept, to be used again."""

import ctypes
import os
import sys

# Numbers of the parameters in glibc's <malloc.h>, and the values that they are given.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_SETTINGS = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory, for the whole process.

    XLA's CPU programs allocate their temporaries at every call, for an update about a GiB.
    By default glibc takes blocks of such sizes from the system and gives them back, so that
    every call touches a quarter of a million fresh pages, which the system has to clear: a
    tenth of the time of an update. Threads share one heap then, so that a block that one
    of them has freed serves the others.

    Environment variables or tunables of glibc that concern the same stand.

    Returns:
        Whether that was done; not where the C library is another one.
    """
    chosen = any(name in os.environ for name in _VARIABLES)
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all([libc.mallopt(parameter, value) == 1 for parameter, value in _SETTINGS])
