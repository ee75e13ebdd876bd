"""Choices that depend on the machine."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import pytest

import gpld
from gpld.agent import choices
from gpld.xla.choices import choose


@pytest.mark.parametrize(
    ("flags", "precision", "tiles"),
    [
        ("avx2", "float32", False),
        ("avx512f avx512_bf16", "mixed", False),
        ("avx512f amx_bf16", "mixed", True),
    ],
)
def test_the_precision_of_a_cpu_follows_its_instructions(flags, precision, tiles, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr("gpld.xla.choices._processor", lambda: f"flags : {flags}")
    chosen = choose("auto", rewrite=True)
    assert (chosen.precision, chosen.tiles) == (precision, tiles)
    assert choose("auto", rewrite=False).precision == "float32"  # mixed is a rewriting


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_devices_compute_in_bfloat16(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    chosen = choose("auto", rewrite=True)
    assert (chosen.precision, chosen.dtype, chosen.factors) == ("bfloat16",) * 3


def test_loops_are_packed_where_no_other_device_has_a_part_of_the_batch(monkeypatch):
    several = {"devices": 2, "seeds": 1}, {"devices": 2, "seeds": 2}, {"devices": 1, "seeds": 1}
    configs = [dataclasses.replace(gpld.PRESETS["paper"], **own) for own in several]
    assert {choices(config).loops for config in configs} == {"whole"}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [choices(config).loops for config in configs] == ["split", "packed", "packed"]


@pytest.mark.parametrize(
    ("precision", "dtype", "factors"),
    [
        ("float32", "float32", "float32"),
        ("mixed", "float32", "bfloat16"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_a_precision_that_was_asked_for_is_taken(precision, dtype, factors):
    chosen = choose(precision, rewrite=True)
    assert (chosen.precision, chosen.dtype, chosen.factors) == (precision, dtype, factors)


def test_choices_can_be_recorded():
    chosen = choose("float32", rewrite=True)
    assert json.loads(json.dumps(chosen._asdict()))["unroll"] == chosen.unroll


def test_no_layer_asks_for_the_machine():
    package = Path(gpld.__file__).parent
    for path in (p for folder in ("models", "losses") for p in (package / folder).glob("*.py")):
        text = path.read_text()
        assert "default_backend" not in text, path
        assert not re.search(r"^(from|import) .*\bxla\b", text, re.MULTILINE), path
