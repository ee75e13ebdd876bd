"""The recorder: what a run counts and times, also across a stop."""

import dataclasses
import json
import os
import signal
import threading
import time

import pytest

from gpld.config.presets import PRESETS
from gpld.errors import Interrupted
from gpld.runs.clock import Clock
from gpld.runs.console import RunConsole
from gpld.runs.folder import RunFolder
from gpld.runs.metrics import Stopwatch
from gpld.runs.recorder import Recorder
from gpld.sweep.forecast import seconds_per_env_step
from gpld.training.train import train

CONFIG = PRESETS["debug"]


class Console(RunConsole):
    """Remembers what a recorder shows."""

    rate = None

    def __init__(self):
        pass

    def speaker(self, label):
        del label
        return lambda text: None

    def resumed(self, env_step):
        del env_step

    def progress(self, env_step, update, *, env_steps_per_second, shares, now):
        del env_step, update, shares, now
        self.rate = env_steps_per_second


@pytest.mark.parametrize(("timed", "rate"), [(True, 2000 / 106), (False, 10 / 6)])
def test_env_steps_and_seconds_are_those_of_the_same_interval(timed, rate, monkeypatch, tmp_path):
    """Of a run that was stopped at env step 1,990, after 100 seconds without a line."""
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    console, stopwatch = Console(), Stopwatch()
    recorder = Recorder(CONFIG, RunFolder(tmp_path), console, stopwatch)
    with stopwatch("update"):
        now = 100.0
    saved = json.loads(json.dumps(stopwatch.get_state()))
    state = recorder.get_state()

    stopwatch = Stopwatch()
    recorder = Recorder(CONFIG, RunFolder(tmp_path), console, stopwatch)
    recorder.set_state(state, since=None if timed else 1990)
    if timed:
        stopwatch.set_state(saved)
    with stopwatch("update"):
        now += 6.0
    recorder.show(Clock(2000), now=True)
    assert console.rate == pytest.approx(rate)
    if timed:
        recorder.log(Clock(2000))
        [line] = RunFolder(tmp_path).read("metrics")
        assert line["time/seconds"] == 106
        assert line["time/share/update"] == 1
        assert seconds_per_env_step(tmp_path) == 106 / 2000


@pytest.mark.slow
def test_a_run_that_was_stopped_between_two_lines_has_the_time_before_in_the_next(tmp_path):
    path = tmp_path / "run"
    config = dataclasses.replace(
        CONFIG,
        task="probe_memory",
        env_steps=10_000,
        env=dataclasses.replace(CONFIG.env, action_repeat=1),
        log=dataclasses.replace(CONFIG.log, every=10_000, report_every=0, tensorboard=False),
        checkpoint=dataclasses.replace(CONFIG.checkpoint, every=50),
    )

    def stop():
        while not list(path.glob("checkpoints/0*")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Interrupted):
        train(config, path)
    thread.join()
    saved = RunFolder(path).latest_checkpoint()
    before = json.loads((saved / "manifest.json").read_text())["stopwatch"]["elapsed"]
    assert not (path / "metrics.jsonl").exists()
    train(dataclasses.replace(config, env_steps=int(saved.name) + 20), path)
    [line] = RunFolder(path).read("metrics")
    assert line["time/seconds"] > before > 0
