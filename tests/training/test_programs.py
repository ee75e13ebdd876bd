"""What a run compiles, and what its update is for a GPU that is not there."""

import os
import subprocess
import sys

import jax
import pytest
from jax.sharding import Mesh

from gpld.benchmark.gpu.programs import described_program
from gpld.cli import parse_config
from gpld.xla.choices import made_for

RUN = """
import gpld, jax, pathlib, sys
programs = []

def ended(event, seconds, **about):
    if event.endswith("backend_compile_duration"):
        programs.append(about.get("fun_name", ""))

jax.monitoring.register_event_duration_secs_listener(ended)
from gpld.training.train import train
from gpld.cli import parse_config
train(parse_config(sys.argv[2:]), pathlib.Path(sys.argv[1]))
print("PROGRAMS", *programs)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "most"),
    [
        ("", 16),
        pytest.param("--seeds 2", 28, marks=pytest.mark.exhaustive),
        pytest.param("--seeds 2 --devices 2", 61, marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_compiles_few_programs(flags, most, tmp_path):
    """Keys, networks, policy state, update, sums, policy in training and evaluation, a report."""
    usual = "--preset debug --env_steps 64 --evaluation.every 32 --log.report_every 32"
    arguments = f"{tmp_path / 'run'} {usual} {flags}".split()
    two_devices = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    env = {**os.environ, "XLA_FLAGS": two_devices}
    command = [sys.executable, "-c", RUN, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    [line] = [line for line in ended.stdout.splitlines() if line.startswith("PROGRAMS")]
    names = line.split()[1:]
    assert sum("update" in name for name in names) == 1, names
    assert len(names) <= most, names


# Operations in the bodies of all loops of the paper's update: imagination, five steps in one, and
# the observed sequences backwards and forwards, four in one.
LOOPS = {1: (1859, 1005, 939), 5: (1864, 1013, 951)}


@pytest.mark.parametrize("seeds", LOOPS)
def test_loops_of_an_update_do_not_grow(seeds):
    """Each operation in a loop is a launch on a GPU at every step, unless it is fused."""
    config = parse_config(["--seeds", str(seeds)])
    with made_for("gpu"):
        program, args = described_program("update", config, Mesh(jax.devices()[:1], ("devices",)))
        lowered = program.trace(*args).lower(lowering_platforms=("cuda",))
    bodies = sorted(loop_bodies(lowered.compiler_ir("stablehlo")), reverse=True)
    assert len(bodies) == 3
    # Fewer operations are welcome, and become the new limits.
    assert all(size <= limit for size, limit in zip(bodies, LOOPS[seeds], strict=True)), bodies


def loop_bodies(module):
    """Return the number of operations in every loop's body, those it calls and nests included."""
    functions = {str(f.attributes["sym_name"]).strip('"'): f for f in module.body.operations}

    def operations(block):
        for op in block.operations:
            if op.operation.name == "func.call":
                called = functions[str(op.operation.attributes["callee"]).lstrip("@")]
                yield from operations(called.regions[0].blocks[0])
            else:
                yield op.operation
                for region in op.operation.regions:
                    for inner in region.blocks:
                        yield from operations(inner)

    bodies = []
    for op in operations(functions["main"].regions[0].blocks[0]):
        if op.name == "stablehlo.while":
            names = [x.name for x in operations(op.regions[1].blocks[0])]
            bodies.append(sum(name not in _FREE for name in names))
    return bodies


_FREE = {"stablehlo.constant", "stablehlo.return", "func.return"}
