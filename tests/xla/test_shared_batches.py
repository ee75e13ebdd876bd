"""An update on several devices that share a batch sends nothing in its loops."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SENDS = re.compile(r"[\])}] (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\(")


@pytest.mark.exhaustive
def test_loops_send_nothing_between_devices(real_programs):
    path = [Path(__file__).parents[2], Path(__file__).parents[1], os.environ.get("PYTHONPATH", "")]
    env = {
        **real_programs,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    output = subprocess.run(
        [sys.executable, __file__], env=env, check=True, capture_output=True, text=True
    ).stdout
    num_loops, in_loops, everywhere = json.loads(output)
    assert num_loops >= 3
    assert "all-reduce" in everywhere  # of the gradients
    assert in_loops == []


def main():
    """Prints how many loops there are, what these send, and what is sent at all."""
    import jax
    import numpy as np
    from helpers import CONFIG
    from jax.sharding import Mesh

    from gpld.benchmark.gpu.programs import described_program
    from gpld.xla.choices import made_for

    replay = dataclasses.replace(CONFIG.replay, batch_size=8, batch_length=8)
    config = dataclasses.replace(CONFIG, devices=2, replay=replay)
    with made_for("gpu"):
        mesh = Mesh(np.asarray(jax.devices()), ("devices",))
        program, args = described_program("update", config, mesh)
        text = program.lower(*args).compile().as_text()
    loops = set(re.findall(r"body=%?([\w.\-]+)", text))
    in_loops = [
        sent
        for computation in re.split(r"\n(?=[%E])", text)
        if computation.split(" ")[0].lstrip("%") in loops
        for sent in SENDS.findall(computation)
    ]
    print(json.dumps([len(loops), in_loops, SENDS.findall(text)]))


if __name__ == "__main__":
    main()
