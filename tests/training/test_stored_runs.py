"""Runs that an earlier version has stored are read as what it stored."""

import contextlib
import json
import shutil
import zlib
from pathlib import Path

import jax
import jax.random as jr
import numpy as np
import pytest

from gpld.cli import parse_config
from gpld.parallel.hosts import Processes
from gpld.training import train

STORED = Path(__file__).parents[1] / "fixtures" / "runs"


def checksum(array):
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jr.key_data(array)
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {list(array.shape)} {zlib.crc32(array.tobytes()):08x}"


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): checksum(array) for path, array in leaves}


def flat(value, name=""):
    """Values of nested dictionaries and lists by their joined names."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, one in items for k, v in flat(one, f"{name}/{key}").items()}
    return {name: checksum(value) if isinstance(value, np.ndarray) else value}


def decoded(path, kind):
    config = parse_config(["--resume", str(path)])
    with contextlib.ExitStack() as stack:
        loop = train._assemble(config, path, Processes(), stack)
        trainer, stages = loop._trainer, loop._stages
        state = {
            "env_step": trainer.clock.env_step,
            "update": trainer.clock.update,
            "settled": loop.served == trainer.clock.env_step,
            "agent": by_path(trainer.state),
            "loop": flat(stages._get_state(0, loop.served)),
        }
        if kind == "device":
            steps = {name: checksum(array) for name, array in sorted(trainer._steps.items())}
            return state | {"device": by_path(trainer._training._asdict()), "steps": steps}
        ring = stages._runs[0].replay.ring
        [(_, at)] = ring.pieces(ring.oldest, ring.num_added)
        return state | {"replay": {k: checksum(v[:, at]) for k, v in sorted(ring.arrays.items())}}


@pytest.mark.parametrize("kind", ["host", "device"])
def test_the_decoded_state_is_what_was_stored(kind, tmp_path):
    shutil.copytree(STORED / kind, tmp_path / "run")
    actual = json.loads(json.dumps(decoded(tmp_path / "run", kind)))
    expected = json.loads((STORED / f"{kind}.json").read_text())
    expected = {name: value for name, value in expected.items() if value != {}}
    if kind == "host":  # counted since later versions, from where the run is resumed
        expected["loop"]["/collector/envs/num_steps"] = 1
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name] == value, name
