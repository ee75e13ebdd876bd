"""Compiled programs on disk, and which one is compiled just now."""

import os
import subprocess
import sys
import threading
import time

import jax
import pytest
from jax._src.compilation_cache import compress_executable

from gpld.xla import cache

PROGRAM = """
import collections
import gpld
from gpld.xla import cache
import jax
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))
cache.cache_compilations()
jax.jit(lambda x: 2 * x)(1.0)
kinds = ("compile_requests_use_cache", "cache_hits")
print(*(events[f"/jax/compilation_cache/{kind}"] for kind in kinds))
"""


def _start(folder):
    """Compiles in a process of its own; programs needed, those that were there, warnings."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder)},
        check=True,
    )
    return *map(int, result.stdout.split()), result.stderr


def test_programs_are_kept_and_one_that_was_cut_off_is_compiled_again(tmp_path):
    programs, reused, _ = _start(tmp_path)
    assert (programs >= 1, reused) == (True, 0)
    files = sorted(tmp_path.glob("*-cache"))
    assert len(files) == programs  # small ones too
    assert _start(tmp_path) == (programs, programs, "")
    files[0].write_bytes(files[0].read_bytes()[:-100])
    programs, reused, said = _start(tmp_path)
    assert reused == programs - 1
    assert "Error reading persistent compilation cache entry for" in said


# What is in work


def test_a_program_in_work_is_named_from_another_thread():
    """While the program is traced; programs within it are not named."""
    seen = []
    cache.in_work()  # listens from here on
    before = cache.seconds_of_work()

    def look():
        thread = threading.Thread(target=lambda: seen.append(cache.in_work()))
        thread.start()
        thread.join()

    @jax.jit
    def inner(x):
        look()
        return 2 * x

    @jax.jit
    def outer(x):
        time.sleep(0.05)
        return inner(x)

    outer(1.0)
    assert [(work.stage, work.name) for work in seen] == [("tracing", "outer")]
    assert seen[0].seconds >= 0.05
    assert cache.in_work() is None
    assert cache.seconds_of_work() - before >= 0.05

    @jax.jit
    def broken(x):
        raise ValueError("while it is traced")

    with pytest.raises(ValueError, match="while it is traced"):
        broken(1.0)
    assert cache.in_work() is None


@pytest.fixture
def cache_folder(tmp_path):
    """An empty folder of compiled programs."""
    before = os.environ["JAX_COMPILATION_CACHE_DIR"]  # of all tests
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def test_what_is_usual_is_what_recent_compilations_took_here(cache_folder):
    assert cache.usual_seconds("update") is None
    for age, (letter, seconds) in enumerate(zip("abcdef", (40, 131, 60, 50, 45, 999), strict=True)):
        data = seconds.to_bytes(4, "big") + bytes(1000)
        path = cache_folder / f"jit_update-{letter * 64}-cache"
        path.write_bytes(compress_executable(data))
        os.utime(path, (1e9 - age, 1e9 - age))
    (cache_folder / f"jit_update_all-{'a' * 64}-cache").write_bytes(
        compress_executable(bytes(1000))
    )
    assert cache.usual_seconds("update") == (40, 131)  # the sixth is too long ago
    assert cache.usual_seconds("<lambda>") is None


def test_what_jax_keeps_of_a_compilation_is_what_is_read(tmp_path):
    """Its files begin with the seconds: were that to change, they would not be small."""
    code = """
from gpld.xla import cache
import jax
cache.cache_compilations()
def slow(x): return x
jax.jit(slow)(1.0)
print(*cache.usual_seconds("slow"))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)},
        check=True,
    )
    least, most = map(int, result.stdout.split())
    assert 0 <= least == most <= 60


ALARM = """
import gpld
from gpld.xla import cache
import jax, jax.numpy as jnp
from jax._src.lib import utils
utils.absl_set_min_log_level(1)
cache.silence({silent})
ones = lambda: jnp.ones((200, 200))
jax.jit(lambda: jax.lax.reduce_window(ones(), 0.0, jax.lax.add, (11, 11), (1, 1), "SAME"))()
"""


@pytest.mark.slow
@pytest.mark.parametrize("silent", [False, True])
def test_xlas_alarm_can_be_silenced(silent):
    """The one about constants, which comes after a second, is of the same kind."""
    code = ALARM.format(silent=silent)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("slow_operation_alarm" in result.stderr) == (not silent)
