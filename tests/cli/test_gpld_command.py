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
    return timed("-m", "gpld", *args)[0]


def timed(*args):
    """Run Python, and return what came of it and the processor time that it took, in seconds."""
    before = os.times()
    command = [sys.executable, *args]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    spent = after.children_user + after.children_system
    return result, spent - before.children_user - before.children_system


@pytest.fixture(scope="module")
def most_seconds():
    """Processor time that a command may take before it begins: thrice the import of JAX alone.

    That is a second and a half on a fast core, and as much as that on a slower one.
    """
    return 3 * max(timed("-c", "import jax")[1] for _ in range(2))


def test_every_script_is_a_subcommand():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")} - {"minimal"}
    assert {name.replace("-", "_") for name in COMMANDS} - {"completion"} == scripts


def test_the_installed_command_is_this_one():
    project = tomllib.loads((SCRIPTS.parent / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["gpld"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_the_list_of_commands(args, most_seconds):
    result, seconds = timed("-m", "gpld", *args)
    assert (result.returncode, result.stderr) == (0, "")
    named = re.findall(r"^  ([\w-]+) +[A-Z].*\.$", result.stdout, re.MULTILINE)
    assert named == list(COMMANDS)
    assert named[:4] == ["doctor", "train", "evaluate", "plot"]
    assert seconds < most_seconds
    assert max(map(len, result.stdout.splitlines())) <= 90


def test_the_version():
    assert gpld("--version").stdout == f"gpld {importlib.metadata.version('gpld')}\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_mistakes_come_soon(name, most_seconds):
    help_text, seconds = timed("-m", "gpld", name, "--help")
    assert (help_text.returncode, help_text.stderr) == (0, "")
    mistake, more_seconds = timed("-m", "gpld", name, "--nonsense")
    assert mistake.returncode == 2
    assert mistake.stderr.startswith("error: ")
    assert mistake.stderr.count("\n") == 1
    assert max(seconds, more_seconds) < most_seconds


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
