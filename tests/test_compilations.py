"""Compiled programs on disk: a part of one is deleted, and what came from there is counted."""

import os
import subprocess
import sys
import zlib

from gpld.compilations import Reuse, remove_incomplete
from gpld.console import _origin

PROGRAM = """
import gpld
from gpld.compilations import cache_compilations, reuse
import jax, warnings
warnings.simplefilter("error")
cache_compilations()
assert reuse() is None
jax.jit(lambda x: 2 * x)(1.0)
print(*reuse())
"""


def _start(folder):
    """Compiles a program in a process of its own; programs that were needed, and were there."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder)},
        check=True,
    )
    return tuple(map(int, result.stdout.split()))


def test_a_program_cut_off_by_a_kill_is_compiled_again_and_kept(tmp_path):
    programs, reused = _start(tmp_path)
    assert (programs >= 1, reused) == (True, 0)
    files = sorted(tmp_path.glob("*-cache"))
    assert len(files) == programs  # small ones too
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-100])
    assert _start(tmp_path) == (programs, programs - 1)
    assert zlib.decompress(files[0].read_bytes())
    assert _start(tmp_path) == (programs, programs)


def _entry(folder, letter, data, age):
    path = folder / f"jit_f-{letter * 64}-cache"
    path.write_bytes(data)
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return path


def test_only_what_was_written_since_the_last_start_is_read(tmp_path):
    whole = zlib.compress(bytes(range(256)) * 100)
    _entry(tmp_path, "a", whole, age=100)
    broken = _entry(tmp_path, "b", whole[:-1], age=100)
    empty = _entry(tmp_path, "c", b"", age=100)
    other = tmp_path / "notes-cache"
    other.write_bytes(b"not a program")
    assert set(remove_incomplete(tmp_path)) == {broken, empty}
    # Older than the last look, so taken for complete.
    _entry(tmp_path, "d", whole[:-1], age=50)
    assert remove_incomplete(tmp_path) == []
    flipped = _entry(tmp_path, "e", whole[:50] + b"?" + whole[51:], age=0)
    assert remove_incomplete(tmp_path) == [flipped]
    assert other.exists()


def test_folders_that_are_not_there_or_cannot_be_written_are_no_error(tmp_path):
    assert remove_incomplete(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_the_console_says_where_programs_came_from():
    assert _origin(None) == ""
    assert _origin(Reuse(25, 25)) == "; all 25 programs were compiled before"
    assert _origin(Reuse(25, 3)).startswith("; 3 of 25 programs were compiled before, and later")
