"""The matrix of GPU programs, as far as it goes without JAX's CUDA plugin."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

from gpld.benchmark.gpu import matrix
from gpld.benchmark.gpu.card import XLA_FLAGS
from gpld.benchmark.gpu.rows import setting_rows, simulation_rows
from gpld.commands.benchmark import main
from gpld.config.flags import parse_settings

PLUGIN = importlib.util.find_spec("jax_cuda12_plugin") or importlib.util.find_spec(
    "jax_cuda13_plugin"
)


def test_rows_are_settings_of_training():
    rows = list(setting_rows())
    assert len(rows) <= 50
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        config = parse_settings(row.flags)
        assert config.devices == row.cards
        assert (config.loop == "device") == (row.program == "device")


@pytest.mark.parametrize(
    ("name", "rows"), [("gpu-program", setting_rows), ("gpu-simulation", simulation_rows)]
)
def test_what_is_stored_is_the_matrix(name, rows):
    folder = Path(__file__).parents[3] / "benchmarks" / "h100_described"
    stored = json.loads((folder / f"{name}.json").read_text())["rows"]
    rows = {row.name: (row.program, " ".join(row.flags)) for row in rows()}
    assert {k: (v.get("program"), v.get("flags")) for k, v in stored.items()} == rows


@pytest.mark.skipif(PLUGIN is not None, reason="JAX's CUDA plugin is installed")
def test_a_missing_plugin_is_one_line_with_the_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["gpu-program"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: `gpu-program` needs JAX's CUDA plugin, though no GPU: "
        "`pip install 'gpld[cuda12]'`, or '.[cuda12]' in a checkout.\n"
    )


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["gpu-program", "--rows", "papre"])
    assert ended.value.code == 2
    assert "`rows` must be rows of the matrix, got 'papre'; it has paper, " in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("what", "advice"), [("gpu-program", "; `--rows` chooses those of the matrix."), ("plot", ".")]
)
def test_settings_that_would_be_ignored_are_refused(what, advice, capsys):
    with pytest.raises(SystemExit) as ended:
        main([what, "--preset", "small"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: `{what}` takes no settings of training, got --preset{advice}\n"
    )


def test_programs_are_compiled_with_the_options_that_the_user_has_set(monkeypatch):
    given, environments = "--xla_gpu_enable_command_buffer=-WHILE", []

    def run(command, *, env, **_):
        environments.append(env)
        return subprocess.CompletedProcess(command, 0, stdout='{"launches": 7}\n', stderr="")

    monkeypatch.setattr(matrix, "check_plugin", lambda: None)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(matrix, "provenance", lambda: {"commit": "1"})
    monkeypatch.setattr(matrix, "_cells", lambda *_: ("",) * 7)
    monkeypatch.setenv("XLA_FLAGS", given)
    matrix.compile_matrix("gpu-program", setting_rows(), ["act"], None)
    assert environments[0]["XLA_FLAGS"].split() == [given, *XLA_FLAGS]


@pytest.mark.skipif(PLUGIN is None, reason="JAX's CUDA plugin is not installed")
@pytest.mark.exhaustive
def test_a_program_compiles_for_the_card(tmp_path, capsys):
    main(["gpu-program", "--rows", "act", "--out", str(tmp_path)])
    assert "act" in capsys.readouterr().out
    row = json.loads((tmp_path / "gpu-program.json").read_text())["rows"]["act"]
    assert "error" not in row
    assert 0 < row["started"] <= row["launches"] == sum(row["kinds"].values())


@pytest.mark.skipif(PLUGIN is None, reason="JAX's CUDA plugin is not installed")
@pytest.mark.exhaustive
def test_a_control_step_is_one_graph(tmp_path):
    """All loops of the solver of constraints are in it, so that the host decides about none."""
    main(["gpu-simulation", "--rows", "cartpole_swingup", "--out", str(tmp_path)])
    file = json.loads((tmp_path / "gpu-simulation.json").read_text())
    row = file["rows"]["cartpole_swingup"]
    assert (row["started"], row["host_reads"]) == (1, 0)
    assert [loop["trips"] for loop in row["loops"]].count(None) == 8
