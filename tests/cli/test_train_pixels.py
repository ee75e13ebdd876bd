"""Training from pictures, as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def train(*args, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "scripts/train.py", "--preset", "debug", *map(str, args)],
        cwd=REPOSITORY,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_debug_trains_from_pictures_without_a_display(gl, tmp_path):
    result = train(
        *("--task", "walker_walk", "--env.observations", "pixels", "--run", tmp_path / "run"),
        *("--env_steps", 80, "--evaluation.predictions", 1, "--env.action_repeat", 20),
    )
    assert result.returncode == 0, result.stderr
    assert f"inputs      images image 64 x 64 x 3 (drawn with {gl})" in result.stdout
    assert "env steps/s" in result.stdout
    metrics = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < metrics[-1]["train/loss/image"] < 64 * 64 * 3
    assert {path.suffix for path in (tmp_path / "run" / "predictions").iterdir()} == {
        ".mp4",
        ".png",
    }


def test_without_opengl_pictures_are_refused_in_one_line(tmp_path):
    # PyOpenGL finds neither EGL nor OSMesa for this platform.
    result = train(
        *("--task", "walker_walk", "--env.observations", "pixels", "--run", tmp_path / "run"),
        PYOPENGL_PLATFORM="glx",
        MUJOCO_GL="",
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: No OpenGL library can draw here (egl: ")
    assert "apt install libegl1" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
