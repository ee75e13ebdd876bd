"""`gpld completion`: what shells complete."""

import shutil
import subprocess

import pytest

from gpld.__main__ import COMMANDS
from gpld.commands.completion import ARGUMENTS, main
from gpld.config.presets import PRESETS

LINES = {
    "gpld chec": ["check-env"],
    "gpld train --pres": ["--preset"],
    "gpld train --preset ": list(PRESETS),
    "gpld train --gpld.schedule.k": ["--gpld.schedule.kind"],
    "gpld train --no_det": ["--no_deterministic"],
    "gpld train --task walker_w": ["walker_walk"],
    "gpld benchmark upd": ["update"],
    "gpld benchmark --gpld.path ": ["gram", "literal"],
    "gpld evaluate --actions s": ["sampled"],
    "gpld completion ": ["bash", "zsh", "fish"],
}


def script(shell, tmp_path, capsys):
    main([shell])
    path = tmp_path / f"gpld.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def run(shell, code):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    result = subprocess.run([shell, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.stdout


def test_every_command_is_there():
    assert list(ARGUMENTS) == list(COMMANDS)


def test_bash(tmp_path, capsys):
    code = [f"source {script('bash', tmp_path, capsys)}"]
    for line in LINES:
        *words, last = line.split(" ")
        code += [f"COMP_WORDS=({' '.join(words)} '{last}'); COMP_CWORD={len(words)}"]
        code += ['_gpld; echo "${COMPREPLY[*]}"']
    shown = run("bash", "\n".join(code)).splitlines()
    assert dict(zip(LINES, map(str.split, shown), strict=True)) == LINES


def test_zsh(tmp_path, capsys):
    # Stand-ins for what only the line editor has.
    code = ["compdef() { :; }", 'compadd() { shift; print -r -- "$@"; }', "_files() { print; }"]
    code += [f"source {script('zsh', tmp_path, capsys)}"]
    for line in LINES:
        *words, last = line.split(" ")
        code += [f"words=({' '.join(words)} '{last}'); CURRENT={len(words) + 1}; _gpld"]
    shown = run("zsh", "\n".join(code)).splitlines()
    for line, words in zip(LINES, map(str.split, shown), strict=True):
        last = line.split(" ")[-1]  # zsh leaves out what does not match
        assert [word for word in words if word.startswith(last)] == LINES[line]


def test_fish(tmp_path, capsys):
    code = [f"source {script('fish', tmp_path, capsys)}"]
    code += [f"complete -C '{line}' | cut -f1 | string join ' '" for line in LINES]
    shown = run("fish", "\n".join(code)).splitlines()
    assert {k: sorted(v.split()) for k, v in zip(LINES, shown, strict=True)} == {
        line: sorted(words) for line, words in LINES.items()
    }
