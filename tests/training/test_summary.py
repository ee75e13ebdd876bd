"""What a run says before it begins."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from gpld.config import Config, DistributedConfig
from gpld.envs import ArraySpec, EnvSpec
from gpld.training import summary
from gpld.units import byte_size, count


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.00 KiB"),
        (5 * 2**20 // 2, "2.50 MiB"),
        (3 * 2**30 // 2, "1.50 GiB"),
        (2**50, "1,048,576.00 GiB"),
    ],
)
def test_sizes_are_in_units_of_which_there_is_one(number, text):
    assert byte_size(number) == text


def test_one_of_something_is_singular():
    assert count(1, "action") == "1 action"
    assert count(0, "update") == "0 updates"
    assert count(1_200, "process", "es") == "1,200 processes"


def test_numbers_have_a_size_of_one():
    arrays = {"height": (), "orientations": (14,), "image": (64, 64, 3)}
    observation = {
        name: ArraySpec(shape, np.dtype(np.uint8 if len(shape) == 3 else np.float32))
        for name, shape in arrays.items()
    }
    spec = EnvSpec(observation, 1, 1, 1000)
    config = dataclasses.replace(Config(), offline="runs/other")
    assert summary._inputs(config, spec) == (
        "vectors height 1, orientations 14; images image 64 x 64 x 3"
    )


def test_every_precision_is_explained():
    assert summary._PRECISIONS["mixed"].startswith("mixed precision (products in bfloat16")
    assert set(summary._PRECISIONS) == {"float32", "mixed", "bfloat16"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "cpu"),
        ({"devices": 2}, "2 x cpu with a part of each batch each"),
        ({"devices": 2, "seeds": 4}, "2 x cpu with some of the seeds each"),
        (
            {"devices": 2, "distributed": DistributedConfig(2, 0, "host:1"), "run": "runs/a"},
            "2 x cpu in process 0 of 2, with a part of each batch each",
        ),
    ],
)
def test_processes_are_counted_where_there_are_several(monkeypatch, settings, said):
    device = SimpleNamespace(device_kind="cpu")
    monkeypatch.setattr(summary.jax, "devices", lambda: [device])
    assert summary._devices(dataclasses.replace(Config(), **settings)) == said
