"""Systems that are not the one the tests run on, with what they lack taken away."""

import os
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


@pytest.fixture
def train_without_opengl(tmp_path: Path):
    """Trains where PyOpenGL finds neither EGL nor OSMesa, and where there is no display."""

    def train(*flags):
        names = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        code = "from gpld.commands.train import main; main()"
        run = ["--preset", "debug", "--run", str(tmp_path / "run")]
        return subprocess.run(
            [sys.executable, "-c", code, *run, *flags],
            env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), "PYOPENGL_PLATFORM": "glx"},
            capture_output=True,
            text=True,
        )

    return train


@pytest.mark.slow
def test_a_run_from_vectors_needs_no_opengl(train_without_opengl, tmp_path: Path):
    ended = train_without_opengl("--evaluation.video_every", "1")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "scores.jsonl").read_text().count("\n") == 1
    assert not list((tmp_path / "run").rglob("*.mp4"))
    (line,) = [line for line in ended.stdout.splitlines() if "OpenGL" in line]
    assert "`apt install libegl1 libgl1`" in line


@pytest.mark.slow
def test_pictures_without_opengl_are_one_line(train_without_opengl, tmp_path: Path):
    ended = train_without_opengl("--env.observations", "pixels")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: No OpenGL library can draw here (egl: ")
    assert "`apt install libegl1 libgl1` or `apt install libosmesa6` adds one." in ended.stderr
    assert not (tmp_path / "run").exists()


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
