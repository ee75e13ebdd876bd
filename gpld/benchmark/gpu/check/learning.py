"""A learning curve, for as long as there is time, beside the official one."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ....analysis.published import published_curves
from ....config.flags import parse_settings
from ....runs.folder import RunFolder
from ....runs.start import planned_runs
from ...process import ended_too_early, start_training
from .part import Row, Task
from .sizes import QUIET

# Seconds before the end at which the run is asked to stop, with a checkpoint.
_STOPPING = 10


def learning(task: Task) -> Iterator[Row]:
    """Yield every evaluation of a run with several seeds in one program, when all have made it."""
    began, path, log = time.monotonic(), task.folder / "run", task.folder / "log"
    flags = [*task.sizes.learning, *QUIET, "--seeds", str(task.sizes.seeds), "--run", str(path)]
    config = parse_settings(flags)
    curves = [c for c in published_curves(config.task) if c.label.startswith("DreamerV3")]
    folders = [RunFolder(run.path) for run in planned_runs(config, path)]
    process, known = start_training(config, log=log), 0
    try:
        while True:
            ended = process.poll() is not None  # before looking: what it did last counts
            for lines in _new_scores(folders, known):
                known += 1
                means, frame = [line["mean"] for line in lines], lines[0]["frame"]
                figures: dict[str, Any] = {
                    "return": float(np.mean(means)),
                    "lowest": min(means),
                    "highest": max(means),
                    "official": None,
                    "update": lines[0]["update"],
                    "seconds": time.monotonic() - began,
                }
                if curves and frame <= curves[0].frames[-1]:
                    points = [0, *curves[0].frames], [0, *curves[0].mean]
                    figures["official"] = float(np.interp(frame, *points))
                yield f"{frame:,} frames", figures
            if ended or task.seconds < _STOPPING:
                break
            time.sleep(0.2)
    finally:
        asked = process.poll() is None
        _stop(process)
    if not known and asked:
        waited = time.monotonic() - began
        yield "return", {"error": f"there was no evaluation within {waited:.0f} s"}
    elif not known and process.returncode not in (0, 75):
        raise ended_too_early(process, log)
    yield "speed", _speed(folders[0])


def _new_scores(folders: list[RunFolder], known: int) -> list[tuple[dict[str, Any], ...]]:
    """Return the evaluations that all seeds have made since, the earliest first."""
    scores = [_lines(folder.path / "scores.jsonl") for folder in folders]
    return list(zip(*scores, strict=False))[known:]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a file that is being written; none if it is not there yet."""
    if not path.exists():
        return []
    *lines, _ = path.read_text().split("\n")
    return [json.loads(line) for line in lines]


def _stop(process: subprocess.Popen) -> None:
    """Ask a run to stop, and give it half the time that is left for that."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOPPING / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _speed(folder: RunFolder) -> dict[str, Any]:
    """Return the rates between the first update and the last line of metrics."""
    lines = [line for line in _lines(folder.path / "metrics.jsonl") if line["update"] > 0]
    if len(lines) < 2:
        return {"updates / s": None}
    # The first of them compiles.
    seconds = sum(line["time/seconds"] for line in lines[1:])
    return {
        "updates / s": (lines[-1]["update"] - lines[0]["update"]) / seconds,
        "env steps / s": (lines[-1]["env_step"] - lines[0]["env_step"]) / seconds,
    }
