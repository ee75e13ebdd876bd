"""Which settings of a run may change when it goes on."""

import dataclasses

import pytest

from gpld.config import Config, EnvConfig
from gpld.errors import UsageError
from gpld.run_start import _check_same


def config(backend):
    return Config(env=dataclasses.replace(EnvConfig(), backend=backend))


def test_engines_that_give_the_same_bits_may_change(tmp_path):
    for old in ("auto", "dmc", "batch"):
        for new in ("auto", "dmc", "batch"):
            _check_same(tmp_path, config(old), "float32", config(new), "float32")


@pytest.mark.parametrize("other", ["auto", "dmc", "batch"])
def test_other_engines_may_not(tmp_path, other):
    with pytest.raises(UsageError, match=f"backend is 'mjx' there and '{other}' here"):
        _check_same(tmp_path, config("mjx"), "float32", config(other), "float32")
    with pytest.raises(UsageError, match=f"backend is '{other}' there and 'mjx' here"):
        _check_same(tmp_path, config(other), "float32", config("mjx"), "float32")
