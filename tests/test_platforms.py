"""Systems that are not the one the tests run on, with what they lack taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpld.machine.subprocesses import python_environment

_WINDOWS = """
import sys
sys.platform = "win32"
import gpld
"""

# JAX, MuJoCo and psutil have their parts for this system, so that they are imported before.
_MACOS = """
import os, pathlib, signal, sys
import gpld.envs.dmc.env, jax, psutil
sys.platform = "darwin"
for name in ("sched_getaffinity", "sched_setaffinity", "posix_fallocate", "posix_fadvise"):
    delattr(os, name)
for name in ("SIGRTMIN", "SIGRTMAX", "SIGPWR", "SIGSTKFLT", "SIGPOLL"):
    delattr(signal, name)
read, exists = pathlib.Path.read_text, pathlib.Path.exists
def is_linux(path):
    return str(path).startswith(("/proc/", "/sys/fs/"))
def read_text(path, *args, **kwargs):
    if is_linux(path):
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return read(path, *args, **kwargs)
pathlib.Path.read_text = read_text
pathlib.Path.exists = lambda path, **kwargs: not is_linux(path) and exists(path, **kwargs)
from gpld.commands.train import main
main(["--preset", "debug", "--run", sys.argv[1]])
"""


def test_windows_is_refused_in_one_line():
    ended = subprocess.run(
        [sys.executable, "-c", _WINDOWS], env=python_environment(), capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "WSL2" in ended.stderr


@pytest.mark.slow
def test_a_run_ends_where_only_linux_has_what_is_missing(tmp_path: Path):
    run = tmp_path / "run"
    ended = subprocess.run(
        [sys.executable, "-c", _MACOS, str(run)],
        env=python_environment(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert (run / "scores.jsonl").read_text().count("\n") == 1
