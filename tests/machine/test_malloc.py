"""Freed memory that the process keeps."""

import subprocess
import sys

import pytest

from gpld.machine.subprocesses import python_environment

# Blocks are taken and freed by threads, as XLA does, and every page of them is touched.
_CODE = """
import resource, threading
from gpld.machine.malloc import keep_freed_memory

kept = keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for repetition in range(4):
    before = faults()
    thread = threading.Thread(target=lambda: b"x" * 2**27)
    thread.start()
    thread.join()
print(kept, faults() - before)
"""


def _start(**environment):
    """Whether memory is kept, and the page faults of taking 128 MiB for the fourth time."""
    command = [sys.executable, "-c", _CODE]
    run = subprocess.run(
        command, env=python_environment(**environment), capture_output=True, text=True, check=True
    )
    kept, faults = run.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="concerns glibc")
def test_pages_are_touched_once():
    kept, faults = _start()
    assert kept
    assert faults < 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4")],
)
def test_what_the_user_has_chosen_stands(name, value):
    kept, faults = _start(**{name: value})
    assert not kept
    assert faults > 10_000
