"""`scripts/pack.py`, and what reads its files."""

import gzip
import json

import pytest
from run_folders import write_learning_run

from gpld.analysis.packed import pack, unpack
from gpld.commands.pack import main as pack_main
from gpld.commands.plot import main as plot
from gpld.errors import UsageError


@pytest.fixture
def sweep(tmp_path):
    """A sweep with two arms, one of whose runs has more than is packed."""
    root = tmp_path / "sweep"
    for arm, lambda0 in (("plain", 0.0), ("smooth", 0.5)):
        for seed in range(2):
            write_learning_run(
                root / arm / "walker_run" / f"seed{seed}",
                "walker_run",
                seed,
                final=500,
                lambda0=lambda0,
                env_steps=60_000,
                scale=30_000,
            )
    (root / "arms.json").write_text(json.dumps({"plain": "Without", "smooth": "With"}))
    run = root / "plain" / "walker_run" / "seed0"
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "agent").write_bytes(b"0" * 10_000)
    (run / "evaluation.json").write_text(json.dumps({"run": str(run)}))
    return root


def test_packed_runs_are_plotted_like_their_folders(sweep, tmp_path, capsys):
    file = tmp_path / "results" / "sweep.json.gz"
    pack_main([str(sweep), str(file)])
    assert capsys.readouterr().out.startswith(f"packed 4 runs into {file}, ")
    tables = []
    for source, out in ((sweep, tmp_path / "a"), (file, tmp_path / "b")):
        plot([str(source), "--out", str(out)])
        tables.append([(out / name).read_bytes() for name in ("scores.csv", "scores.md")])
    assert tables[0] == tables[1]
    assert "Without" in tables[1][1].decode()


def test_what_is_packed(sweep, tmp_path):
    file = tmp_path / "sweep.json.gz"
    pack(sweep, file)
    files = json.loads(gzip.decompress(file.read_bytes()))
    assert "arms.json" in files
    assert not any("checkpoints" in name for name in files)
    assert json.loads(files["plain/walker_run/seed0/evaluation.json"]) == {
        "run": "plain/walker_run/seed0"
    }
    assert str(tmp_path) not in "".join(files.values())
    again = tmp_path / "again.json.gz"
    pack(sweep, again)
    assert again.read_bytes() == file.read_bytes()


def test_bad_files(sweep, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"must end in \.json\.gz, got sweep\.zip"):
        pack(sweep, tmp_path / "sweep.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no run folder"):
        pack(tmp_path / "empty", tmp_path / "x.json.gz")
    damaged = tmp_path / "damaged.json.gz"
    pack(sweep, damaged)
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(SystemExit):
        plot([str(damaged), "--out", str(tmp_path / "out")])
    assert "damaged.json.gz does not hold packed runs" in capsys.readouterr().err
    evil = tmp_path / "evil.json.gz"
    evil.write_bytes(gzip.compress(json.dumps({"../outside": ""}).encode()))
    with pytest.raises(UsageError, match="outside of its folder"):
        unpack(evil, tmp_path / "in")
    assert not (tmp_path / "outside").exists()
