"""The benchmark of the replay, on sizes that take a second."""

import dataclasses

import pytest
from helpers import CONFIG

from gpld.benchmark.replay import UPDATES, _Workload


@pytest.mark.parametrize("storage", ["ram", "disk"])
def test_the_workload_fills_calls_and_saves(tmp_path, storage, capsys):
    replay = dataclasses.replace(CONFIG.replay, storage=storage)
    workload = _Workload(dataclasses.replace(CONFIG, replay=replay), 2000, tmp_path)
    assert workload.steps == workload.replay.num_added * CONFIG.env.num_envs
    assert 2000 - CONFIG.env.num_envs < workload.steps <= 2000
    seconds = workload.calls() | workload.saves(tmp_path / "saved")
    assert min(seconds.values()) > 0
    assert {"sample", "refresh", "add", "save", "refresh while saving"} <= seconds.keys()
    # Chunks hold more than this replay: all that changes is written again, nothing else.
    sizes = workload.saved_bytes
    assert 0 < sizes[f"save after {UPDATES} updates"] < sizes["save"]
    assert sizes["save"] >= workload.replay.nbytes
    assert f"filling {storage} with {workload.steps:,} steps, 0.0 GiB\n" in capsys.readouterr().err


def test_fewer_steps_where_there_is_no_room(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gpld.benchmark.replay.available_memory", lambda: 2**20)
    workload = _Workload(CONFIG, 10**9, tmp_path)
    assert workload.replay.nbytes <= 2**19
    assert "as there is no room for 1,000,000,000\n" in capsys.readouterr().err
