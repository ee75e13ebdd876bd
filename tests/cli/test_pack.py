"""`scripts/pack.py`, and what reads its files."""

import contextlib
import gzip
import json
import subprocess
import sys

import pytest
from run_folders import configured, write_evaluation, write_learning_run, write_run

from gpld.analysis import packed
from gpld.analysis.packed import pack, unpack, unpacked
from gpld.analysis.scores import read_runs
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


def test_a_packed_run_keeps_its_older_evaluations(tmp_path):
    path = tmp_path / "runs" / "a"
    config = configured("walker_run", 0, env_steps=10_000, run=str(path))
    folder = write_run(path, config, [(10_000, [1.0])])
    write_evaluation(folder, config, [3.0])
    values = json.loads((path / "evaluation.json").read_text())
    for new in ("run_seed", "run_started"):  # which version 0.1 has not written
        del values["checkpoints"][0][new]
    (path / "evaluation.json").write_text(json.dumps(values))
    pack(path, tmp_path / "packed.json.gz")
    with unpacked([tmp_path / "packed.json.gz"]) as (unpacked_run,):
        assert str(tmp_path) not in (unpacked_run / "evaluation.json").read_text()
        assert str(tmp_path) not in (unpacked_run / "config.json").read_text()
        (scores,) = read_runs([unpacked_run], "checkpoints")
    assert scores.returns == ((3.0,),)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"../outside": ""}), "outside of its folder"),
        (json.dumps({"in/../../outside": ""}), "outside of its folder"),
        (json.dumps({"/outside": ""}), "outside of its folder"),
        (json.dumps({"a\0b": ""}), "outside of its folder"),
        (json.dumps({"": ""}), "outside of its folder"),
        (json.dumps({"a" * 300: ""}), "a path that is too long"),
        (json.dumps({"a/" * 1000: ""}), "a path that is too long"),
        (json.dumps({"a": "", "./a": ""}), "has a path twice"),
        (json.dumps({"a": "", "a/b": ""}), "has a path twice"),
        (json.dumps({"a": "\ud800"}), "surrogates not allowed"),
        (json.dumps({"\ud800": ""}), "surrogates not allowed"),
        (json.dumps({"a": 3}), "has no text"),
        (json.dumps({"a": {"b": "c"}}), "has no text"),
        ("[" * 1_000_000, "has no {"),
        ('{"a":' * 1_000_000, "has no text"),
        ('{"a": "b"', "has no }"),
        ('{"a": "b"} {}', "goes on after its end"),
        ('{"a": "\\x"}', "Invalid"),
        ("null", "has no {"),
        ("", "has no {"),
        ('{"\u00e4": ""}', "'ascii' codec can't decode"),
    ],
)
def test_packed_files_of_strangers_are_one_line(tmp_path, text, message):
    evil = tmp_path / "evil.json.gz"
    evil.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(UsageError, match=message) as error:
        unpack(evil, tmp_path / "new" / "in")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "new" / "outside").exists()


def test_every_flipped_bit_is_one_line_or_nothing(sweep, tmp_path):
    file = tmp_path / "sweep.json.gz"
    pack(sweep / "plain" / "walker_run" / "seed1", file)
    whole = file.read_bytes()
    unpack(file, tmp_path / "whole")
    for at in range(0, 8 * len(whole), 41):
        data = bytearray(whole)
        data[at // 8] ^= 1 << at % 8
        file.write_bytes(data)
        with contextlib.suppress(UsageError):
            unpack(file, tmp_path / str(at))
            for path in (tmp_path / "whole").rglob("*"):  # a bit of the header, such as the time
                own = tmp_path / str(at) / path.relative_to(tmp_path / "whole")
                assert own.is_dir() or own.read_bytes() == path.read_bytes()


def test_limits_of_packed_files(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "MOST_BYTES", 1000)
    monkeypatch.setattr(packed, "MOST_OF_A_FILE", 100)
    monkeypatch.setattr(packed, "MOST_FILES", 2)
    file = tmp_path / "x.json.gz"
    for files, message in (
        ({"a": "x" * 1000}, "larger than 0 MiB"),
        ({"a": "x" * 100}, "no text of at most"),
        ({"a": "", "b": "", "c": ""}, "more than 2 files"),
    ):
        file.write_bytes(gzip.compress(json.dumps(files).encode()))
        with pytest.raises(UsageError, match=message):
            unpack(file, tmp_path / message)
    monkeypatch.setattr(packed, "MOST_OF_A_FILE", 10_000)
    write_learning_run(tmp_path / "run", "walker_run", 0, final=500, env_steps=5_000)
    with pytest.raises(UsageError, match="takes 2 of 0 MiB; pack its parts"):
        pack(tmp_path / "run", tmp_path / "y.json.gz")


def test_large_files_are_packed_as_far_as_they_can_be_unpacked(tmp_path, monkeypatch):
    run, file = tmp_path / "run", tmp_path / "x.json.gz"
    write_learning_run(run, "walker_run", 0, final=500, env_steps=5_000)
    line = b'{"env_step": 1, "time/seconds": 1}'
    (run / "metrics.jsonl").write_bytes(line + b" " * (66 * 2**20 - len(line) - 1) + b"\n")
    assert pack(run, file) == 1
    unpack(file, tmp_path / "again")
    assert (tmp_path / "again" / "metrics.jsonl").stat().st_size == 66 * 2**20
    (run / "metrics.jsonl").unlink()
    monkeypatch.setattr(packed, "MOST_OF_A_FILE", 2**20)
    message = r"metrics\.jsonl takes 1\.4 MiB as JSON, and a packed file takes 1 MiB of each\."
    (run / "metrics.jsonl").write_bytes(b'"' * (7 * 2**20 // 10))
    with pytest.raises(UsageError, match=message):
        pack(run, file)
    (run / "metrics.jsonl").write_bytes(b" " * (2**20 - 2))
    assert pack(run, file) == 1
    unpack(file, tmp_path / "full")
    (run / "metrics.jsonl").write_bytes(b" " * (2**20 - 1))
    with pytest.raises(UsageError, match="takes 1 MiB of each"):
        pack(run, file)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["larger", "wide"])
def test_a_bomb_takes_no_more_memory_than_is_said(tmp_path, kind):
    file, chunk = tmp_path / "bomb.json.gz", b" " * 2**20
    with gzip.open(file, "wb", 1) as bomb:
        bomb.write(b"{")
        for name in range(8 if kind == "larger" else 3):
            bomb.write(b'"%d": "\\ud83d\\ude00' % name)  # makes a text of four bytes a character
            for _ in range(120):
                bomb.write(chunk)
            bomb.write(b'", ')
        bomb.write(b'"x": ""}')
    code = f"""
import resource
from pathlib import Path
from gpld.analysis.packed import unpack
from gpld.errors import UsageError
try:
    unpack(Path({str(file)!r}), Path({str(tmp_path / "out")!r}))
except UsageError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    *error, peak = result.stdout.splitlines()
    assert bool(error) == (kind == "larger")
    assert int(peak) * 1024 < 2 * 2**30


def test_runs_that_cannot_be_read_are_left_out_and_named(sweep, tmp_path, capsys):
    run = sweep / "plain" / "walker_run" / "seed0"
    (run / "scores.jsonl").write_bytes(b"\xff\n")
    linked = tmp_path / "linked"
    write_learning_run(linked, "walker_run", 7, final=500, env_steps=5_000)
    (sweep / "smooth" / "walker_run" / "seed7").symlink_to(linked)
    file = tmp_path / "sweep.json.gz"
    pack_main([str(sweep), str(file)])
    output = capsys.readouterr()
    assert output.out.startswith("packed 4 runs into ")
    assert output.err.startswith(f"warning: {run} is left out: {run / 'scores.jsonl'} is damaged")
    files = json.loads(gzip.decompress(file.read_bytes()))
    assert "smooth/walker_run/seed7/config.json" in files
    assert not any(name.startswith("plain/walker_run/seed0") for name in files)


def test_a_file_that_cannot_be_written_is_one_line(sweep, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json.gz").mkdir()
    for name in ("file/x.json.gz", "folder.json.gz", "x" * 300 + ".json.gz"):
        with pytest.raises(SystemExit) as exit:
            pack_main([str(sweep), str(tmp_path / name)])
        output = capsys.readouterr()
        assert (exit.value.code, output.out, output.err.count("\n")) == (2, "", 1)
