"""The last lines of a run: where it is, and commands that can be copied."""

import contextlib
import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import configured, write_run

from gpld.checkpoints import checkpoint
from gpld.checkpoints.writer import NothingToResumeError
from gpld.cli import one_line_errors, parse_config
from gpld.config import DistributedConfig
from gpld.envs.failures import TooManyFailuresError
from gpld.errors import Interrupted, MachineError, UsageError
from gpld.runs.folder import RunFolder
from gpld.training.ending import Ending, describe


@pytest.fixture
def saved(monkeypatch):
    """Makes checkpoints with nothing but a manifest."""
    replay = {
        "format": 1,
        "chunk_length": 100,
        "num_streams": 1,
        "arrays": {"immutable": {}, "mutable": {}},
        "state": {"num_added": 0, "oldest": 0},
        "files": [],
    }

    def save(path, env_step, update):
        folder = RunFolder(path).checkpoint_path(env_step)
        folder.mkdir(parents=True)
        manifest = {
            "format": checkpoint.FORMAT,
            "env_step": env_step,
            "update": update,
            "keep_agent": False,
            "logs": {},
            "replay": replay,
            "files": {name: {"size": 0, "sha256": ""} for name in ("agent.eqx", "loop.npz")},
        }
        checkpoint._write_manifest(folder, manifest)
        return folder

    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])
    return save


def commands(lines):
    """The commands in the lines, as a shell takes them apart."""
    return [shlex.split(line[12:]) for line in lines[1:]]


@pytest.mark.parametrize("name", ["walker", "a run; rm -rf $HOME", "it's `this`"])
def test_a_stopped_run(saved, tmp_path, name):
    path, config = tmp_path / name, configured("walker_walk", 0)
    write_run(path, config, [])
    saved(path, 1100, 267)
    lines = describe(config, path, ["--task", "walker_walk"], complete=False)
    assert lines[0] == f"saved       {path}: 1,100 of 500,000 env steps, 267 updates"
    assert [line[:12] for line in lines[1:]] == ["go on       ", "evaluate    "]
    assert commands(lines) == [
        ["python", "scripts/train.py", "--resume", str(path)],
        ["python", "scripts/evaluate.py", str(path)],
    ]
    assert parse_config(commands(lines)[0][2:]) == dataclasses.replace(config, run=str(path))
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s' {lines[1].partition(' --resume ')[2]}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout == str(path)


def test_a_finished_run_can_be_made_longer_and_looked_at(saved, tmp_path):
    config = configured("walker_walk", 0, env_steps=1000)
    write_run(tmp_path / "run", config, [(1000, [1.0])])
    saved(tmp_path / "run", 1000, 1)
    lines = describe(config, tmp_path / "run", [], complete=True)
    assert lines[0] == f"finished    {tmp_path / 'run'}: 1,000 env steps, 1 update"
    train, look, evaluate = commands(lines)
    assert train[2:] == ["--resume", str(tmp_path / "run"), "--env_steps", "2000"]
    assert parse_config(train[2:]).env_steps == 2000
    assert look == ["python", "scripts/plot.py", str(tmp_path / "run")]
    assert evaluate == ["python", "scripts/evaluate.py", str(tmp_path / "run")]


def test_a_run_without_updates_says_so(saved, tmp_path):
    config = configured("walker_walk", 0, env_steps=30)
    write_run(tmp_path / "run", config, [])
    saved(tmp_path / "run", 30, 0)
    assert describe(config, tmp_path / "run", [], complete=True)[0].endswith(
        "run: 30 env steps, no update"
    )


def test_several_seeds_go_on_together_from_where_the_last_of_them_is(saved, tmp_path):
    path = tmp_path / "walker"
    config = dataclasses.replace(configured("walker_walk", 3), seeds=2)
    write_run(path, config, [])
    for seed, env_step in ((3, 200), (4, 100)):
        write_run(path / f"seed{seed}", configured("walker_walk", seed), [])
        saved(path / f"seed{seed}", env_step, 5)
    lines = describe(config, path, [], complete=False)
    assert lines[0].startswith(f"saved       {path}: 100 of 500,000 env steps")
    train, look = commands(lines)
    assert train[2:] == ["--resume", str(path)]
    assert look[2:] == [str(path / "seed3"), str(path / "seed4")]


def test_a_run_of_the_installed_command(saved, tmp_path, monkeypatch):
    path, config = tmp_path / "run", configured("walker_walk", 0)
    write_run(path, config, [])
    saved(path, 50, 3)
    monkeypatch.setattr(sys, "argv", ["gpld train"])  # as the command itself has set it
    lines = describe(config, path, [], complete=False)
    assert commands(lines)[0] == ["gpld", "train", "--resume", str(path)]


def test_each_of_several_machines_has_its_own_command(saved, tmp_path):
    several = DistributedConfig(processes=2)
    config = dataclasses.replace(
        configured("walker_walk", 0), distributed=several, run=str(tmp_path)
    )
    write_run(tmp_path / "run", config, [])
    saved(tmp_path / "run", 100, 5)
    args = ["--run", str(tmp_path / "run"), "--distributed.process_id", "1"]
    assert commands(describe(config, tmp_path / "run", args, complete=False))[0][2:] == args


def test_before_the_first_checkpoint_the_same_command_begins_anew(tmp_path):
    config = configured("walker_walk", 3)
    write_run(tmp_path / "run", config, [])
    args = ["--seed", "3", "--run", "runs/a b"]
    lines = describe(config, tmp_path / "run", args, complete=False)
    assert lines[0].startswith(f"not saved   {tmp_path / 'run'}: it ended before its first")
    assert commands(lines) == [["python", "scripts/train.py", *args]]


@pytest.mark.parametrize("args", [["--resume", "run"], ["--resume=run", "--env_steps", "9"]])
def test_before_the_first_checkpoint_a_resumed_run_begins_anew_with_its_own_settings(
    saved, tmp_path, args
):
    config = configured("walker_walk", 3)
    write_run(tmp_path / "run", config, [])
    lines = describe(config, tmp_path / "run", args, complete=False)
    assert commands(lines) == [["python", "scripts/train.py", "--resume", str(tmp_path / "run")]]


def test_a_run_that_failed_after_its_last_env_step_is_not_finished(saved, tmp_path):
    config = configured("walker_walk", 0, env_steps=1000)
    write_run(tmp_path / "run", config, [])
    saved(tmp_path / "run", 1000, 1)
    lines = describe(config, tmp_path / "run", [], complete=False)
    assert lines[0] == f"saved       {tmp_path / 'run'}: 1,000 of 1,000 env steps, 1 update"
    assert commands(lines)[0] == ["python", "scripts/train.py", "--resume", str(tmp_path / "run")]


def test_only_checkpoints_to_go_on_from_count(saved, tmp_path):
    config, path = configured("walker_walk", 0), tmp_path / "run"
    write_run(path, config, [])
    first, old, last = saved(path, 100, 5), saved(path, 200, 6), saved(path, 300, 7)
    checkpoint.keep_agent(checkpoint.read(old))
    (last / "manifest.json").write_text("{")
    lines = describe(config, path, [], complete=False)
    assert lines[0] == f"saved       {path}: 100 of 500,000 env steps, 5 updates"
    (first / "manifest.json").unlink()
    lines = describe(config, path, ["--resume", str(path)], complete=False)
    assert lines == [f"not saved   {path}: no checkpoint of it can be resumed from"]


def test_damaged_scores_are_no_concern_of_the_last_lines(saved, tmp_path, recwarn):
    config, path = configured("walker_walk", 0), tmp_path / "run"
    write_run(path, config, [(100, [1.0])])
    saved(path, 100, 5)
    with (path / "scores.jsonl").open("a") as file:
        file.write("{")
    assert "plot.py" in describe(config, path, [], complete=False)[-2]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("error", "code", "first", "ends"),
    [
        (None, None, "", True),
        (Interrupted("SIGINT ended the run at env step 5; it is saved."), 75, "SIGINT ended", True),
        (MachineError("The disk is full."), 1, "error: The disk is full.\n", True),
        (UsageError("`run` must be another."), 2, "error: `run` must be another.\n", False),
        (NothingToResumeError("All are damaged."), 1, "error: All are damaged.\n", False),
    ],
)
def test_however_a_run_ends(saved, tmp_path, capsys, error, code, first, ends):
    config = configured("walker_walk", 0)
    write_run(tmp_path / "run", config, [])
    saved(tmp_path / "run", 100, 5)
    expected = contextlib.nullcontext() if error is None else pytest.raises(SystemExit)
    with expected as ended, Ending([]) as ending, one_line_errors():
        ending.begins(config, tmp_path / "run")
        if error is not None:
            raise error
    assert (ended and ended.value.code) == code
    output, errors = capsys.readouterr()
    assert errors.startswith(first)
    assert errors.count("\n") == (error is not None)
    assert ("go on       python" in output) == ends


def test_after_too_many_failures_the_command_allows_more(saved, tmp_path, monkeypatch, capsys):
    config = configured("walker_walk", 0)
    write_run(tmp_path / "run", config, [])
    saved(tmp_path / "run", 100, 5)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit), Ending([]) as ending, one_line_errors():  # noqa: PT012
        ending.begins(config, Path("run"))
        os.chdir("/")  # as code of the user's may do
        raise TooManyFailuresError("Environment 0 failed.")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "saved       run: 100 of 500,000 env steps, 5 updates"
    assert commands(lines)[0][2:] == ["--resume", "run", "--env.max_restarts", "20"]


def test_a_run_that_did_not_begin_has_no_last_lines(tmp_path, capsys):
    with Ending([]) as ending:
        ending.begins(configured("walker_walk", 0), tmp_path / "none")
    with Ending([]):
        pass
    assert capsys.readouterr().out == ""


def test_a_folder_that_cannot_be_looked_at_has_no_last_lines(saved, tmp_path, monkeypatch, capsys):
    config = configured("walker_walk", 0)
    write_run(tmp_path / "run", config, [])
    saved(tmp_path / "run", 100, 5)

    def refuse(path, **_):  # as `exists` does where a folder above may not be searched
        raise PermissionError(13, "Permission denied", str(path))

    with Ending([]) as ending:
        ending.begins(config, tmp_path / "run")
        monkeypatch.setattr(Path, "exists", refuse)
    assert capsys.readouterr().out == ""
