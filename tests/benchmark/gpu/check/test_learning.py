"""A learning curve that is read while it is written, of a run that must be stopped."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from gpld.analysis.published import published_curves
from gpld.benchmark.gpu.check import learning as module
from gpld.benchmark.gpu.check.part import Task
from gpld.benchmark.gpu.check.sizes import SMALL
from gpld.errors import MachineError

# A run of two seeds of which one is ahead, and the other in the middle of a line.
_RUN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for seed, text in zip((0, 1), sys.argv[2:]):
    folder = pathlib.Path(sys.argv[1]) / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "scores.jsonl").write_text(text)
time.sleep(600)
"""


def lines(*means):
    """Evaluations at 5,000 frames, 10,000 and so on."""
    values = [
        {"frame": 5000 * i, "update": i, "mean": mean} for i, mean in enumerate(means, start=1)
    ]
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.fixture
def started(monkeypatch):
    """Processes that stand for training; each is started with the code and arguments given."""
    processes, command = [], []

    def start(config, *, log):
        log.write_text("one\nthe last line\n")
        code, *args = command
        processes.append(subprocess.Popen([sys.executable, "-c", code, str(config.run), *args]))
        return processes[-1]

    monkeypatch.setattr(module, "start_training", start)
    monkeypatch.setattr(module, "_STOPPING", 1)
    return processes, command


def test_evaluations_of_all_seeds_are_set_beside_the_official_curve(started, tmp_path):
    processes, command = started
    command += [_RUN, lines(10.0, 30.0, 50.0), lines(20.0, 40.0) + lines(70.0)[:20]]
    rows = list(module.learning(Task(SMALL, tmp_path, time.monotonic() + 4)))
    assert [name for name, _ in rows] == ["5,000 frames", "10,000 frames", "speed"]
    first, second, speed = (figures for _, figures in rows)
    assert (second["return"], second["lowest"], second["highest"]) == (35, 30, 40)
    official = next(c for c in published_curves("walker_walk") if "DreamerV3" in c.label)
    at = np.flatnonzero(official.frames == 10_000)[0]
    assert second["official"] == official.mean[at]
    assert first["official"] == pytest.approx(official.mean[at] / 2)  # it begins at nothing
    assert speed == {"updates / s": None}
    assert processes[0].returncode == -9  # it did not end when it was asked to


def test_a_run_that_fails_says_why(started, tmp_path):
    _, command = started
    command += ["raise SystemExit(1)"]
    with pytest.raises(MachineError, match="ended too early: the last line"):
        list(module.learning(Task(SMALL, tmp_path, time.monotonic() + 60)))


def test_a_run_that_was_stopped_before_its_first_evaluation_is_no_failure(started, tmp_path):
    _, command = started
    command += [_RUN, "", ""]
    (name, figures), _ = module.learning(Task(SMALL, tmp_path, time.monotonic() + 4))
    assert name == "return"
    assert re.fullmatch(r"there was no evaluation within \d s", figures["error"])
