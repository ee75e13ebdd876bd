"""The estimate of an update's memory against what XLA plans."""

import json
import shlex
from pathlib import Path

import jax
import pytest
from jax.sharding import Mesh

from gpld.benchmark.gpu.programs import described_program
from gpld.benchmark.update import observation_shapes
from gpld.cli import parse_config
from gpld.training.update_memory import update_temporaries
from gpld.xla.choices import made_for

MATRIX = Path(__file__).parents[2] / "benchmarks" / "h100_described" / "gpu-program.json"
ROWS = {
    name: row
    for name, row in json.loads(MATRIX.read_text())["rows"].items()
    if row.get("program") == "update" and "temporaries" in row
}


@pytest.mark.parametrize("name", ROWS)
def test_on_a_gpu(name):
    config = parse_config(shlex.split(ROWS[name]["flags"]))
    with made_for("gpu"):
        one = update_temporaries(config, observation_shapes(config))
    assert one * config.seeds / config.devices == pytest.approx(ROWS[name]["temporaries"], rel=0.15)


def test_the_matrix_covers_what_decides():
    assert len(ROWS) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "--preset small --precision float32",
        "--preset dreamerv3 --precision float32 --env.observations pixels",
        "--preset dreamerv3 --precision float32 --learn world_model",
    ],
)
def test_on_a_cpu(flags, real_programs):
    config = parse_config(flags.split())
    program, args = described_program("update", config, Mesh(jax.devices()[:1], ("devices",)))
    planned = program.lower(*args).compile().memory_analysis().temp_size_in_bytes
    assert update_temporaries(config, observation_shapes(config)) == pytest.approx(
        planned, rel=0.15
    )
