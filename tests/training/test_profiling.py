"""`--profile`: a trace with the parts of the loop in it, which changes nothing else."""

import dataclasses
import gzip
import json

import jax
import pytest

from gpld.config.presets import PRESETS
from gpld.training.profiling import Profiler
from gpld.training.train import train


def test_a_trace_ends_with_the_run_and_none_is_said(tmp_path):
    lines = []
    with Profiler(tmp_path / "off", 0, lines.append) as profiler:
        for update in range(100):
            profiler.round(update)
    assert not lines
    with Profiler(tmp_path / "short", 5, lines.append) as profiler:
        for update in range(3):
            profiler.round(update)
    assert lines.pop().startswith("no trace: the run ended")
    with Profiler(tmp_path / "cut", 5, lines.append) as profiler:
        for update in range(1000, 1012):  # of a run that goes on
            profiler.round(update)
    assert str(tmp_path / "cut" / "plugins") in lines.pop()
    assert not lines
    assert not (tmp_path / "off").exists()
    assert not (tmp_path / "short").exists()


def test_a_trace_that_cannot_be_recorded_is_one_line(tmp_path):
    lines = []
    with (
        jax.profiler.trace(tmp_path / "other"),
        Profiler(tmp_path / "own", 5, lines.append) as profiler,
    ):
        for update in range(0, 60, 10):
            profiler.round(update)
    assert lines == ["no trace: Profile has already been started. Only one profile may be run at "
                     "a time."]  # fmt: skip


@pytest.mark.slow
def test_a_run_is_traced_and_stays_the_same(tmp_path, capsys):
    debug = PRESETS["debug"]
    config = dataclasses.replace(
        debug,
        task="probe_delayed",
        env_steps=110,
        env=dataclasses.replace(debug.env, action_repeat=1),
    )
    plain = train(config, tmp_path / "plain")
    traced = train(dataclasses.replace(config, profile=4), tmp_path / "traced")
    agents = [folder.latest_checkpoint() / "agent.eqx" for folder in (plain, traced)]
    assert agents[0].read_bytes() == agents[1].read_bytes()
    assert not (plain.path / "profile").exists()
    [trace] = (traced.path / "profile").rglob("perfetto_trace.json.gz")
    assert str(trace) in capsys.readouterr().out
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    spans = [event for event in events if event.get("ph") == "X"]
    assert {"environment", "policy", "replay", "update"} <= {span["name"] for span in spans}
    steps = [int(span["args"]["step_num"]) for span in spans if span["name"] == "step"]
    assert len(steps) >= 4
    assert steps == list(range(steps[0], steps[0] + len(steps)))
    assert steps[0] >= 10
