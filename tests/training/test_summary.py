"""What a run says before it begins."""

import dataclasses

import numpy as np
import pytest

from gpld.config import Config
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
