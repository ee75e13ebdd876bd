"""A folder from a stranger: nothing is written, cut or removed through a link in it."""

import contextlib
import dataclasses
import os

import pytest
from matplotlib.figure import Figure
from run_folders import configured, write_run

from gpld.analysis.pictures import save_picture
from gpld.commands import evaluate, sensitivity
from gpld.config.presets import PRESETS
from gpld.errors import MachineError, UsageError
from gpld.runs import folder
from gpld.runs.folder import RunFolder
from gpld.training.train import train

NAMES = [
    "config.json",
    "run.json",
    "run.lock",
    "metrics.jsonl",
    "episodes.jsonl",
    "scores.jsonl",
    "learning_curve.png",
    "sensitivity.json",
    "sensitivity.png",
    "evaluation.json",
    "wandb.json",
]
FOLDERS = ["checkpoints", "replay", "tensorboard", "videos", "predictions", "profile", "faults"]
WITHIN = [
    "checkpoints/replay",
    "checkpoints/000000120",
    "checkpoints/.000000160.tmp",
    "checkpoints/000000120/manifest.json",
    "checkpoints/replay/.mutable-000000-000003.npy.tmp",
    "videos/000000120.mp4",
    "predictions/000000120-vectors.png",
    "tensorboard/events",
]
CONFIG = dataclasses.replace(PRESETS["debug"], task="probe_memory")


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    (path / "folder").mkdir(parents=True)
    (path / "file").write_text("mine\n")
    (path / "folder" / "file").write_text("mine\n")
    return path


def _contents(path):
    return {p: p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def _link(run, name, victim):
    """Puts a link in place of what a run would write."""
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(victim / ("folder" if name in FOLDERS + WITHIN[:3] else "file"))
    return path


@pytest.mark.parametrize("name", NAMES + FOLDERS + WITHIN)
@pytest.mark.parametrize("begun", [False, True], ids=["new", "resumed"])
def test_a_run_does_not_begin_where_links_lead_out(tmp_path, victim, name, begun):
    run = tmp_path / "run"
    if begun:
        write_run(run, CONFIG, [(120, [1.0])])
    link = _link(run, name, victim)
    before = _contents(victim), _contents(run)
    with pytest.raises(UsageError, match="is a symbolic link") as error:
        train(CONFIG, run)
    assert str(link) in str(error.value)
    assert "\n" not in str(error.value)
    assert (_contents(victim), _contents(run)) == before
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["evaluation.json", "videos", "checkpoints"])
def test_an_evaluation_writes_into_no_folder_with_links(tmp_path, victim, name, capsys):
    run = write_run(tmp_path / "run", configured("walker_walk", 0), [(120, [1.0])]).path
    (run / "checkpoints" / "000000120").mkdir(parents=True)
    if name == "checkpoints":
        (run / "checkpoints").rename(tmp_path / "victim" / "checkpoints")
        (run / "checkpoints").symlink_to(tmp_path / "victim" / "checkpoints")
    else:
        _link(run, name, victim)
    before = _contents(victim)
    written = {"videos": ["--video", str(run / "videos" / "a.mp4")]}
    for main, args in (
        (evaluate.main, written.get(name, ["--out", str(run / "evaluation.json")])),
        (sensitivity.main, []),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(run), *args])
        assert ended.value.code == 2
        assert f"{run / name} is a symbolic link" in capsys.readouterr().err
    assert _contents(victim) == before


def test_links_of_others_in_a_run_folder_are_left_alone(tmp_path, victim):
    run = write_run(tmp_path / "real", CONFIG, [(120, [1.0])]).path
    (tmp_path / "run").symlink_to(run)
    (run / "wandb" / "run-1").mkdir(parents=True)
    (run / "wandb" / "latest-run").symlink_to("run-1")
    (run / "notes").symlink_to(victim / "file")
    RunFolder(tmp_path / "run").check_links()


def test_a_link_that_comes_later_is_not_followed(tmp_path, victim):
    """As a link that was made after the start would be met."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    before = _contents(victim)
    for name in ("metrics.jsonl", "learning_curve.png"):
        _link(run.path, name, victim)
    with pytest.raises(MachineError, match="Cannot write"):
        run.append("metrics", [{"env_step": 0}])
    with pytest.raises(MachineError, match="Cannot write"):
        run.rewind({"metrics.jsonl": 0})
    with contextlib.suppress(OSError):
        run.sync_logs()
    save_picture(Figure(), run.learning_curve)
    assert not run.learning_curve.is_symlink()
    assert _contents(victim) == before


@pytest.mark.parametrize("name", ["config.json", "run.json", "run.lock", "metrics.jsonl"])
def test_a_fifo_does_not_hang(tmp_path, name):
    run = write_run(tmp_path / "run", CONFIG, [(120, [1.0])]).path
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises((UsageError, MachineError), match="no regular file"):
        RunFolder(run).append("metrics", [{}]) if name == "metrics.jsonl" else train(CONFIG, run)


def test_no_name_that_a_run_writes_is_left_out():
    """What stands in the description of a run folder is looked at."""
    described = [
        line.split()[0].rstrip("/")
        for line in (folder.__doc__ or "").splitlines()
        if line[:4] == "    "
    ]
    assert len(described) > 10
    for name in described:
        assert folder._OWN.fullmatch(name), name
