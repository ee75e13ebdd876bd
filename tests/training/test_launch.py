"""A training process has as many threads as are of use."""

import subprocess
import sys

import pytest

from gpld.config.flags import parse_settings
from gpld.training.launch import is_one_thread_faster

_COUNT = """
import os, pathlib, sys
from gpld.xla.flags import use_one_thread
if sys.argv[1] == "one":
    use_one_thread()
import jax.numpy as jnp
(jnp.ones((64, 64)) @ jnp.ones((64, 64))).block_until_ready()
names = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
print(sum(name.startswith("tf_XLAEigen") for name in names))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(
    ("threads", "nproc", "expected"), [("one", None, 1), ("one", "3", 3), ("all", "2", 2)]
)
def test_xla_has_as_many_threads_as_it_is_told(monkeypatch, threads, nproc, expected):
    monkeypatch.delenv("NPROC", raising=False)
    if nproc is not None:
        monkeypatch.setenv("NPROC", nproc)
    result = subprocess.run(
        [sys.executable, "-c", _COUNT, threads], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--preset small", True),
        ("--preset debug", True),
        ("--preset paper", False),
        ("--preset small --model.deter 512", False),
        ("--preset small --seeds 2", False),
        ("--preset small --devices 2", False),
        ("--preset small --env.observations pixels", False),
        ("--preset mjx", False),
    ],
)
def test_small_runs_from_vectors_have_one_thread(flags, expected):
    assert is_one_thread_faster(parse_settings(flags.split())) == expected
