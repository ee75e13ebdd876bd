"""Runs that ended before their first step go on from their checkpoint of env step 0."""

import contextlib
import dataclasses

import pytest

from gpld.checkpoints import checkpoint
from gpld.config.presets import PRESETS
from gpld.parallel.hosts import Processes
from gpld.training import train

DEBUG = PRESETS["debug"]
CONFIG = dataclasses.replace(
    DEBUG,
    task="cartpole_swingup",
    env_steps=60,
    log=dataclasses.replace(DEBUG.log, every=20, report_every=0, tensorboard=False),
)


def outcome(folder):
    lines = [
        {name: value for name, value in line.items() if not name.startswith("time/")}
        for line in folder.read("metrics")
    ]
    last = checkpoint.read(folder.latest_checkpoint()).manifest
    replay = sorted(file["sha256"] for file in last["replay"]["files"])
    return lines, last["files"]["agent.eqx"]["sha256"], replay


@pytest.mark.parametrize(
    ("loop", "env"),
    [
        pytest.param("host", {"backend": "dmc"}, marks=pytest.mark.slow),
        pytest.param("host", {"backend": "dmc", "workers": 2}, marks=pytest.mark.exhaustive),
        pytest.param("host", {"backend": "batch"}, marks=pytest.mark.exhaustive),
        pytest.param("host", {"backend": "mjx"}, marks=pytest.mark.exhaustive),
        pytest.param("device", {"backend": "mjx"}, marks=pytest.mark.exhaustive),
    ],
    ids=["dmc", "workers", "batch", "mjx", "device"],
)
def test_the_run_is_the_one_that_never_ended(loop, env, tmp_path):
    env = dataclasses.replace(CONFIG.env, **env)
    config = dataclasses.replace(CONFIG, loop=loop, env=env)
    whole = train.train(config, tmp_path / "whole")
    path = tmp_path / "ended"
    with contextlib.ExitStack() as stack:
        train._assemble(config, path, Processes(), stack)
    assert [step.name for step in (path / "checkpoints").glob("0*")] == ["000000000"]
    assert outcome(train.train(config, path)) == outcome(whole)
