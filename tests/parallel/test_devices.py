"""Updates divided among devices are those of one device, tried on virtual devices of the CPU."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpld.cli import parse_config
from gpld.errors import UsageError
from gpld.runs.folder import RunFolder
from gpld.training.train import train

pytestmark = pytest.mark.slow

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
COMPARE = Path(__file__).with_name("compare_updates.py")
ARGS = (
    *("--preset", "debug", "--task", "probe_memory", "--env.action_repeat", "1"),
    *("--log.no_tensorboard", "--log.every", "20", "--log.report_every", "0"),
    *("--env_steps", "120", "--evaluation.every", "60", "--gpld.lambda0", "0"),
)


def run(*args):
    command = [sys.executable, *args]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_eight_devices_make_the_update_of_one():
    differences = json.loads(run(COMPARE, "joint", "mixed"))  # the other two in test_hosts.py
    # The agent's state holds the gradients as the optimiser's moments, next to parameters.
    assert differences.pop("moved") > 0.1
    assert max(differences.values()) < 1e-5  # float32 sums in another order: 1e-6


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return train(parse_config(ARGS), tmp_path_factory.mktemp("one") / "run")


def _check_same(run, expected):
    for name in ("metrics", "episodes", "scores"):
        lines, others = run.read(name), expected.read(name)
        assert len(lines) == len(others) > 0
        for line, other in zip(lines, others, strict=True):
            for key in [key for key in other if not key.startswith("time/")]:
                # As for several seeds: rounding that 23 updates have carried on.
                np.testing.assert_allclose(line[key], other[key], rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.exhaustive
def test_two_seeds_on_two_devices_are_stopped_and_go_on(one_device, tmp_path):
    # One seed on several devices is stopped in test_hosts.py.
    path, args = tmp_path / "run", ["--devices", "2", "--seeds", "2"]
    run(TRAIN, *ARGS, "--env_steps", "60", *args, "--run", path)
    output = run(TRAIN, *ARGS, *args, "--run", path)
    assert "2 x cpu" in output
    assert "resumed     at env step 60" in output
    scores = one_device.read("scores")
    assert [line["env_step"] for line in scores] == [60, 120]
    _check_same(RunFolder(path / "seed0"), one_device)


def test_more_devices_than_there_are_is_one_line(tmp_path):
    config = dataclasses.replace(parse_config(ARGS), devices=2)
    with pytest.raises(UsageError, match="`devices` must be at most 1, the number of") as error:
        train(config, tmp_path / "run")
    assert "--xla_force_host_platform_device_count=2" in str(error.value)
    assert not (tmp_path / "run").exists()
