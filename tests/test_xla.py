"""The options that are set before JAX starts, in processes of their own."""

import importlib.metadata
import os
import subprocess
import sys

import jax
import pytest

from gpld import _xla

OPTION = "--xla_cpu_experimental_ynn_fusion_type"
SET = f"{OPTION}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


def run(code, **env):
    inherited = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-W", "always", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=inherited | env)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", SET),
        ("--xla_dump_to=x", f"--xla_dump_to=x {SET}"),
        (f"{OPTION}=", f"{OPTION}="),
    ],
)
def test_the_option_is_added_unless_the_user_has_set_it(before, after):
    result = run("import gpld, os; print(os.environ['XLA_FLAGS'])", XLA_FLAGS=before)
    assert result.stdout.strip() == after
    assert "imported after" not in result.stderr


@pytest.mark.parametrize(("start", "warns"), [("pass", False), ("jax.devices()", True)])
def test_importing_too_late_warns(start, warns):
    result = run(f"import jax; {start}; import gpld")
    assert ("gpld was imported after JAX had started" in result.stderr) is warns


def test_programs_that_simulate_have_an_option_where_xla_knows_it(monkeypatch):
    is_cpu = jax.default_backend() == "cpu"
    assert _xla.simulation_options() == ({"xla_cpu_use_fusion_emitters": False} if is_cpu else {})
    compiled = jax.jit(lambda x: x + 1, compiler_options=_xla.simulation_options())
    assert compiled(1) == 2
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.99.0")
    assert _xla.simulation_options() == {}


@pytest.mark.slow
def test_large_batches_of_penalties_are_right():
    """A program that XLA miscomputes on some processors without the option."""
    code = """
import gpld, jax, jax.numpy as jnp, jax.random as jr, numpy as np
from gpld.models import RSSM
from gpld.losses import gram_penalty
rssm = RSSM(8, 2, deter=16, hidden=8, stoch=3, classes=4, blocks=4, prior_layers=1,
            posterior_layers=1, unimix=0.01, dtype=jnp.dtype("float32"), key=jr.key(0))
penalty = gram_penalty(rssm.posterior_map())
norms = lambda h, e, key: penalty(h, e, key=key)
inputs = (jr.normal(jr.key(1), (40, 16)), jr.normal(jr.key(2), (40, 8)))
batched = lambda key: jax.vmap(norms)(*inputs, jr.split(key, 40))
keys = jr.split(jr.key(3), 1000)
at_once = jax.jit(jax.vmap(batched))(keys)
in_turn = jax.jit(lambda keys: jax.lax.map(batched, keys))(keys)
np.testing.assert_allclose(at_once, in_turn, rtol=1e-4, atol=1e-6)
"""
    run(code)
