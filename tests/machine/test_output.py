"""What is shown never ends a program."""

import io
import os
import subprocess
import sys

import pytest

from gpld.cli import one_line_errors
from gpld.runs import start

# Writes to a file what became of it: there may be no stream to say it on.
STREAMS = """
import os, sys
from gpld.machine.output import prepare, show

prepare()
assert all(os.get_inheritable(number) for number in range(3))
with open(sys.argv[1], "w", encoding="utf-8") as file:
    assert file.fileno() > 2
    for i in range(100):
        show(f"return 58.5 \\u00b1 0.0 {i}")
    show("stopped \\u00b1", stream=sys.stderr)
    file.write("finished")
sys.exit(75)
"""
RUN = """
import sys
from gpld.runs import start
from gpld.cli import one_line_errors
from gpld.config import Config
from gpld.runs.console import RunConsole
from gpld.errors import Interrupted

with one_line_errors():
    with RunConsole(Config()) as console:
        for i in range(100):
            console.print(f"return 58.5 \\u00b1 0.0 {i}")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("finished")
    raise Interrupted("stopped \\u00b1")
"""


@pytest.fixture
def outcome(tmp_path):
    """Runs a program in a shell; how it ended, and what it wrote itself."""

    def outcome(code, redirections, **env):
        program, out = tmp_path / "program.py", tmp_path / "out"
        program.write_text(code, encoding="utf-8")
        command = f"'{sys.executable}' {program} {out} {redirections}; exit ${{PIPESTATUS[0]}}"
        env |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
        result = subprocess.run(["bash", "-c", command], capture_output=True, env=env, check=False)
        return result, out.read_text(encoding="utf-8")

    return outcome


@pytest.mark.parametrize(
    "redirections", ["", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full", "> /dev/full 2> /dev/full"]
)
def test_closed_and_full_streams_change_nothing(outcome, redirections):
    result, written = outcome(STREAMS, redirections)
    assert (result.returncode, written) == (75, "finished")
    assert result.stdout in (
        b"",
        b"".join(b"return 58.5 \xc2\xb1 0.0 %d\n" % i for i in range(100)),
    )
    assert result.stderr in (b"", "stopped ±\n".encode())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_encodings_show_what_they_can(outcome, encoding):
    result, written = outcome(STREAMS, "", PYTHONIOENCODING=encoding)
    assert (result.returncode, written) == (75, "finished")
    text = "return 58.5 ± 0.0 0\n".encode(encoding, errors="replace")
    assert result.stdout.startswith(text)


def test_a_run_whose_output_is_read_by_head_goes_on(outcome):
    result, written = outcome(RUN, "| head -n 1", PYTHONIOENCODING="ascii")
    assert (result.returncode, written) == (75, "finished")
    assert result.stdout == b"return 58.5 ? 0.0 0\n"
    assert result.stderr == b"stopped ?\n"


@pytest.mark.parametrize("closed", [False, True])
def test_a_reader_that_has_enough_is_no_error(monkeypatch, closed):
    """Whatever the standard output is: also without a file, or closed."""
    stream = io.StringIO()
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise BrokenPipeError
    assert ended.value.code == 1


def test_a_warning_that_nobody_reads_does_not_end_a_start(tmp_path, monkeypatch):
    warned = []

    def lock(file, warn):
        warned.append(file)
        warn("this file system has no locks")
        return True

    monkeypatch.setattr(start, "lock", lock)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with start.locked(tmp_path / "run"):
            assert len(warned) == 1


FILES = """
import pathlib, sys
import numpy as np
from gpld.analysis.scores import RunScores, write_csv
from gpld.sweep import read_sweep

folder = pathlib.Path(sys.argv[1]).parent
(folder / "sweep.toml").write_bytes('tasks = ["a"]\\nseeds = [0]\\n[arms.\\"\\u03bb 0\\"]'.encode())
[arm] = read_sweep(folder / "sweep.toml").arms
run = RunScores(folder, "a", arm, 0, False, 1, 1, 1, np.array([1]), ((1.0,),))
write_csv(folder / "scores.csv", [run])
pathlib.Path(sys.argv[1]).write_bytes((folder / "scores.csv").read_bytes())
"""


@pytest.mark.slow
def test_files_are_utf8_whatever_the_locale(outcome):
    """An encoding of ASCII alone is the locale's here."""
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result, written = outcome(FILES, "", **locale)
    assert result.returncode == 0, result.stderr
    assert "λ 0" in written
