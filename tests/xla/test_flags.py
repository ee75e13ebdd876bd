"""The options that are set before JAX starts, in processes of their own."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest
from packaging.requirements import Requirement

from gpld.cli import choose_platform
from gpld.errors import UsageError
from gpld.xla import flags

OPTION = "--xla_cpu_experimental_ynn_fusion_type"
LOOPS = "--xla_gpu_enable_command_buffer"
SET = f"{OPTION}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT {LOOPS}=+WHILE"


def run(code, **env):
    inherited = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-W", "always", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=inherited | env)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", SET),
        ("--xla_dump_to=x", f"--xla_dump_to=x {SET}"),
        (f"{OPTION}=", f"{OPTION}= {LOOPS}=+WHILE"),
        (f"{LOOPS}=-WHILE", f"{LOOPS}=-WHILE {SET.split()[0]}"),
        (f"{LOOPS}= {OPTION}=", f"{LOOPS}= {OPTION}="),
    ],
)
def test_the_option_is_added_unless_the_user_has_set_it(before, after):
    result = run("import gpld, os; print(os.environ['XLA_FLAGS'])", XLA_FLAGS=before)
    assert result.stdout.strip() == after
    assert "imported after" not in result.stderr


def test_options_in_a_file_are_kept(tmp_path):
    """XLA would take what is behind the name of a file for a part of it, and abort."""
    file = tmp_path / "options"
    file.write_text("--xla_dump_to=x\n--xla_dump_hlo_as_text\n")
    code = "import gpld, os, jax; jax.devices(); print(os.environ['XLA_FLAGS'])"
    result = run(code, XLA_FLAGS=str(file))
    assert result.stdout.strip() == f"--xla_dump_to=x --xla_dump_hlo_as_text {SET}"


@pytest.mark.parametrize(("start", "warns"), [("pass", False), ("jax.devices()", True)])
def test_importing_too_late_warns(start, warns):
    result = run(f"import jax; {start}; import gpld")
    assert ("gpld was imported after JAX had started" in result.stderr) is warns


def test_the_metadata_allows_only_versions_whose_faults_are_known():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    requirements = {x.name: x.specifier for x in map(Requirement, project["dependencies"])}
    bound = requirements["jax"]
    known = [f"{version}.{patch}" for version in flags._KNOWN for patch in (0, 1, 9)]
    assert all(version in bound for version in known)
    assert not any(version in bound for version in ("0.9.2", "0.12.0", "1.0.0"))


@pytest.mark.parametrize(
    ("version", "given", "warns"),
    [
        ("0.10.2", "", False),
        ("0.12.0", "", True),
        ("0.12.0", f"{OPTION}=", False),
        ("0.100.0", "", True),
        ("0.9.2", "", True),
    ],
)
def test_another_jaxlib_warns_of_wrong_numbers(version, given, warns, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    monkeypatch.setattr(flags, "_has_started", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", given)
    if warns:
        text = f"does not know jaxlib {version}, only 0.10 and 0.11: .* silently give wrong numbers"
        with pytest.warns(UserWarning, match=text):
            flags.set_options()
        assert os.environ["XLA_FLAGS"] == given  # with options that it does not know XLA dies
    else:
        flags.set_options()  # warnings are errors


STARTING = """
import os, sys
import gpld
from jax._src import xla_bridge

backends = xla_bridge.backends

def starting():
    if not xla_bridge.backends_are_initialized():
        print("XLA_FLAGS", os.environ["XLA_FLAGS"])
    return backends()

xla_bridge.backends = starting
"""


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("train", ["--platform", "gpu", "--deterministic"]),
        ("benchmark", ["--deterministic", "--platform", "gpu"]),
    ],
)
def test_options_of_deterministic_programs_are_set_before_jax_starts(command, given, tmp_path):
    """Looking for a GPU starts JAX, here in vain."""
    what = ["update"] if command == "benchmark" else ["--run", str(tmp_path / "run")]
    code = f"from gpld.commands.{command} import main; main({[*what, '--preset', 'debug', *given]})"
    inherited = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    result = subprocess.run(
        [sys.executable, "-c", STARTING + code],
        capture_output=True,
        text=True,
        env=inherited | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert "`--platform gpu` found no GPU" in result.stderr
    (line,) = result.stdout.splitlines()
    assert set(flags._DETERMINISTIC) <= set(line.split())


def test_deterministic_programs_are_refused_once_jax_has_started(monkeypatch):
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", SET)
    with pytest.raises(UsageError, match=re.escape(f"XLA_FLAGS='{SET} --xla_gpu_det")):
        choose_platform("auto", deterministic=True)
    assert os.environ["XLA_FLAGS"] == SET
    monkeypatch.setenv("XLA_FLAGS", " ".join([SET, *flags._DETERMINISTIC]))
    choose_platform("auto", deterministic=True)  # set before it has


def test_programs_that_simulate_have_an_option_where_xla_knows_it(monkeypatch):
    is_cpu = jax.default_backend() == "cpu"
    assert flags.simulation_options() == ({"xla_cpu_use_fusion_emitters": False} if is_cpu else {})
    compiled = jax.jit(lambda x: x + 1, compiler_options=flags.simulation_options())
    assert compiled(1) == 2
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.99.0")
    assert flags.simulation_options() == {}


@pytest.mark.slow
def test_large_batches_of_penalties_are_right():
    """A program that XLA miscomputes on some processors without the option."""
    code = """
import gpld, jax, jax.numpy as jnp, jax.random as jr, numpy as np
from gpld.config import ModelConfig
from gpld.models import RSSM
from gpld.losses import gram_penalty
config = ModelConfig(deter=16, hidden=8, stoch=3, classes=4, blocks=4, prior_layers=1)
rssm = RSSM(8, 2, config, dtype=jnp.dtype("float32"), key=jr.key(0))
penalty = gram_penalty(rssm.posterior_map(), row_by_row=True)
norms = lambda h, e, key: penalty(h, e, key=key)
inputs = (jr.normal(jr.key(1), (40, 16)), jr.normal(jr.key(2), (40, 8)))
batched = lambda key: jax.vmap(norms)(*inputs, jr.split(key, 40))
keys = jr.split(jr.key(3), 1000)
at_once = jax.jit(jax.vmap(batched))(keys)
in_turn = jax.jit(lambda keys: jax.lax.map(batched, keys))(keys)
np.testing.assert_allclose(at_once, in_turn, rtol=1e-4, atol=1e-6)
"""
    run(code)
