"""Updates of which some do not compile, or not in time."""

import json
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from gpld.benchmark.gpu.check import update as module
from gpld.benchmark.gpu.check.part import Task
from gpld.benchmark.gpu.check.sizes import SMALL
from gpld.benchmark.gpu.matrix import MATRIX
from gpld.errors import MachineError


def test_an_update_that_does_not_compile_hides_no_other(monkeypatch, tmp_path):
    compiled = jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((8, 8))).compile()
    ended = threading.Event()

    def compile_update(config):
        if config.seeds == 5:
            raise RuntimeError("no such tile\nat length")
        if config.gpld.estimator == "joint":
            ended.wait(60)
        return module.Update(lambda: time.sleep(0.01), 3.0, compiled)

    monkeypatch.setattr(module, "compile_update", compile_update)
    sizes = SMALL._replace(updates=("5 seeds", "paper", "2 seeds", "joint"), rounds=1)
    task, found, rows = Task(sizes, tmp_path, time.monotonic() + 4), [], {}
    with pytest.raises(MachineError, match="these were not compiled: 5 seeds, joint"):
        found.extend(module.updates(task))
    ended.set()
    for name, figures in found:
        rows.setdefault(name, {}).update(figures)
    assert rows["5 seeds"] == {"error": "RuntimeError: no such tile"}
    assert rows["joint"]["error"].startswith("was not compiled within ")
    paper = rows["paper"]
    assert 10 <= paper["ms"] <= paper["slowest ms"]
    assert paper["us per launch"] == pytest.approx(1e3 * paper["ms"] / paper["launches"])
    described = json.loads(MATRIX.read_text())["rows"]["paper"]["launches"]
    assert (paper["compile s"], paper["described"]) == (3.0, described)
    assert rows["2 seeds"]["ms per seed"] == rows["2 seeds"]["ms"] / 2
    assert "ms per seed" not in paper
