"""The command `gpld` and its subcommands."""

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

import pytest
from run_script import SCRIPTS, run

from gpld.__main__ import COMMANDS, main


def gpld(*args):
    """Run `python -m gpld` in a process of its own."""
    command = [sys.executable, "-m", "gpld", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def timed(*args):
    """Run it, and return the processor time that it took as well, in seconds."""
    before = os.times()
    result = gpld(*args)
    after = os.times()
    spent = after.children_user + after.children_system
    return result, spent - before.children_user - before.children_system


def test_every_script_is_a_subcommand():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")} - {"minimal"}
    assert {name.replace("-", "_") for name in COMMANDS} - {"completion"} == scripts


def test_the_installed_command_is_this_one():
    project = tomllib.loads((SCRIPTS.parent / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["gpld"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_the_list_of_commands(args):
    result, seconds = timed(*args)
    assert (result.returncode, result.stderr) == (0, "")
    named = re.findall(r"^  ([\w-]+) +[A-Z].*\.$", result.stdout, re.MULTILINE)
    assert named == list(COMMANDS)
    assert named[:4] == ["doctor", "train", "evaluate", "plot"]
    assert seconds < 2
    assert max(map(len, result.stdout.splitlines())) <= 90


def test_the_version():
    assert gpld("--version").stdout == f"gpld {importlib.metadata.version('gpld')}\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_mistakes_take_less_than_two_seconds(name):
    help_text, seconds = timed(name, "--help")
    assert (help_text.returncode, help_text.stderr) == (0, "")
    mistake, more_seconds = timed(name, "--nonsense")
    assert mistake.returncode == 2
    assert mistake.stderr.startswith("error: ")
    assert mistake.stderr.count("\n") == 1
    assert max(seconds, more_seconds) < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pack", "replay-update", "doctor"])
def test_help_is_that_of_the_script(name):
    of_script = run(f"{name.replace('-', '_')}.py", "--help").stdout
    expected = re.sub(r"^usage: \S+", f"usage: gpld {name}", of_script)
    assert gpld(name, "--help").stdout == expected != ""


@pytest.mark.parametrize(
    ("name", "hint"), [("trian", "did you mean train? "), ("x", ""), ("--fast", "")]
)
def test_an_unknown_command_is_one_line(name, hint):
    result = gpld(name, "--task", "walker_walk")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: Unknown command {name!r}; {hint}`gpld --help` lists all.\n"


def test_errors_are_those_of_the_script():
    result = gpld("pack", "nowhere", "packed.json.gz", "--fast")
    assert result.returncode == 2
    assert result.stderr == "error: Unknown flag --fast; `--help` lists all.\n"
