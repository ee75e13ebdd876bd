"""The estimate of an update's memory against what XLA plans."""

import json
import shlex
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from gpld import agent
from gpld.benchmark.gpu.programs import described_program
from gpld.benchmark.update import ACTION_SIZE, observation_shapes
from gpld.cli import parse_config
from gpld.envs import ArraySpec, EnvSpec
from gpld.training.memory_estimate import predict
from gpld.training.update_memory import update_temporaries
from gpld.xla.choices import made_for

MATRIX = Path(__file__).parents[2] / "benchmarks" / "h100_described" / "gpu-program.json"
COMPILED = json.loads(MATRIX.read_text())["rows"]
ROWS = {name: row for name, row in COMPILED.items() if row["program"] == "update"}
LOOPS = {name: row for name, row in COMPILED.items() if row["program"] == "device"}


@pytest.mark.parametrize("name", ROWS)
def test_on_a_gpu(name):
    config = parse_config(shlex.split(ROWS[name]["flags"]))
    with made_for("gpu"):
        one = update_temporaries(config, observation_shapes(config))
    assert one * config.seeds / config.devices == pytest.approx(ROWS[name]["temporaries"], rel=0.15)


def test_probes_take_as_much_as_classes():
    """The penalty maps one reverse pass over all probes as it does over all classes in `exact`."""

    def estimate(*flags):
        config = parse_config(flags)
        with made_for("gpu"):
            return update_temporaries(config, observation_shapes(config))

    one, exact = estimate(), estimate("--gpld.estimator", "exact")
    assert estimate("--gpld.num_probes", "16") == exact  # which has 16 classes
    assert estimate("--gpld.num_probes", "31") - one == pytest.approx(2 * (exact - one))
    few = estimate("--gpld.num_probes", "16", "--gpld.rows", "8")  # of 32
    assert few - one == pytest.approx((exact - one) / 4)
    assert estimate("--gpld.num_probes", "16", "--gpld.lambda0", "0") == one


@pytest.mark.parametrize("name", LOOPS)
def test_of_the_loop_on_a_gpu(name):
    """Agents and an update, beside the replay, which is updated in place."""
    row, config = LOOPS[name], parse_config(shlex.split(LOOPS[name]["flags"]))
    arrays = observation_shapes(config).items()
    observation = {k: ArraySpec(shape, np.dtype("float32")) for k, shape in arrays}
    spec = EnvSpec(observation, ACTION_SIZE, 1, 1000)
    with made_for("gpu"):
        state = eqx.filter_eval_shape(agent.init, config, **spec.sizes, key=jax.random.key(0))
        predicted = predict(config, spec, state).update
    beside = row["arguments"] + row["results"] - 2 * row["aliased"] + row["temporaries"]
    assert predicted == pytest.approx(beside, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "--preset small --precision float32",
        *(
            pytest.param(
                f"--preset dreamerv3 --precision float32 {more}", marks=pytest.mark.exhaustive
            )
            for more in ("--env.observations pixels", "--learn world_model")
        ),
    ],
)
def test_on_a_cpu(flags, real_programs):
    config = parse_config(flags.split())
    program, args = described_program("update", config, Mesh(jax.devices()[:1], ("devices",)))
    planned = program.lower(*args).compile().memory_analysis().temp_size_in_bytes
    assert update_temporaries(config, observation_shapes(config)) == pytest.approx(
        planned, rel=0.15
    )
