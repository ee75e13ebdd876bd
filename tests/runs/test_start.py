"""Which settings of a run may change when it goes on."""

import dataclasses
import json

import pytest

from gpld.config import Config, EnvConfig, GPLDConfig, lasting, to_dict
from gpld.envs import own
from gpld.errors import UsageError
from gpld.runs.folder import RunFolder
from gpld.runs.start import check_checkpoint, check_run, locked, read_settings
from gpld.xla.jax_settings import jax_settings


def config(backend):
    return Config(env=dataclasses.replace(EnvConfig(), backend=backend))


def write(path, config, **more):
    """Write what a run records of itself."""
    (path / "config.json").write_text(json.dumps(to_dict(config)))
    record = {"commit": None, "machine": {"cores": 1, "processor": "", "devices": []},
              "precision": "float32", "versions": {}, "resumed": [], **more}  # fmt: skip
    (path / "run.json").write_text(json.dumps(record))


def test_engines_that_give_the_same_bits_may_change(tmp_path):
    for old in ("auto", "dmc", "batch"):
        write(tmp_path, config(old))
        for new in ("auto", "dmc", "batch"):
            check_run(tmp_path, config(new), "float32")


@pytest.mark.parametrize("other", ["auto", "dmc", "batch"])
def test_other_engines_may_not(tmp_path, other):
    write(tmp_path, config("mjx"))
    with pytest.raises(UsageError, match=f"backend is 'mjx' there and '{other}' here"):
        check_run(tmp_path, config(other), "float32")
    write(tmp_path, config(other))
    with pytest.raises(UsageError, match=f"backend is '{other}' there and 'mjx' here"):
        check_run(tmp_path, config("mjx"), "float32")


def test_the_file_of_a_task_may_be_moved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(own, "_allowed", set())
    new = tmp_path / "new place" / "mine.py"
    new.parent.mkdir()
    new.touch()
    stored = Config(task="/old/mine.py:make", precision="float32")
    write(tmp_path, stored)
    moved = dataclasses.replace(stored, task=f"{new}:make")
    assert check_run(tmp_path, moved, "float32") is not None
    check_checkpoint(tmp_path, moved, {"env_step": 0, "settings": lasting(stored)})
    for other in (f"{new}:other", f"{new.with_name('other.py')}:make", "mine:make", "walker_walk"):
        with pytest.raises(UsageError, match=r"task is '/old/mine\.py:make' there and "):
            check_run(tmp_path, dataclasses.replace(stored, task=other), "float32")

    folder = RunFolder(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read_settings([folder, folder], "./new place/mine.py:make") == [moved, moved]
    assert capsys.readouterr().out == f"/old/mine.py:make is {new}:make now\n"
    with pytest.raises(UsageError, match=r"give `--task /old/mine\.py:make` on the"):
        read_settings([folder], None)


def test_a_task_that_is_given_again_must_be_that_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_allowed", set())
    (tmp_path / "mine.py").touch()
    tasks = [f"{tmp_path / 'mine.py'}:make", "walker_walk"]
    folders = [RunFolder(tmp_path / name) for name in ("own", "suite")]
    for folder, task in zip(folders, tasks, strict=True):
        folder.path.mkdir()
        write(folder.path, Config(task=task, precision="float32"))
    for task in (f"{tmp_path / 'mine.py'}:other", "mine:make", "walker_run"):
        with pytest.raises(UsageError) as error:
            read_settings(folders, task)
        known = " or ".join(tasks)
        assert str(error.value) == f"`--task` must be the task of the run, {known}, got {task}."
        with pytest.raises(UsageError, match=r"^`--task` must be the task of the run, walker_walk"):
            read_settings(folders[1:], task)
    assert [config.task for config in read_settings(folders, tasks[0])] == tasks
    assert [config.task for config in read_settings(folders[1:], tasks[1])] == tasks[1:]


def test_a_run_whose_schedule_was_counted_otherwise_does_not_go_on(tmp_path):
    schedule = dataclasses.replace(GPLDConfig().schedule, start=100)
    config = Config(precision="float32", gpld=GPLDConfig(schedule=schedule))
    write(tmp_path, config)
    with pytest.raises(UsageError, match=r"counted `gpld\.schedule\.start` otherwise"):
        check_run(tmp_path, config, "float32")
    write(tmp_path, config, jax=jax_settings())
    assert check_run(tmp_path, config, "float32") is not None


def test_what_a_kill_has_left_of_a_start_is_no_run(tmp_path):
    (tmp_path / ".run.json.0a1b2c3d.tmp").touch()
    assert check_run(tmp_path, Config(), "float32") is None
    (tmp_path / "notes").touch()
    with pytest.raises(UsageError, match="such as notes"):
        check_run(tmp_path, Config(), "float32")


def test_a_start_that_ended_before_the_run_began_leaves_no_trace(tmp_path):
    path = tmp_path / "run"
    with locked(path):
        (path / "replay").mkdir()
        (path / "run.json").touch()
    assert not path.exists()
    with locked(path):
        (path / "config.json").touch()
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "run.lock"]


def test_links_of_wandb_in_the_run_of_a_seed_are_its_own(tmp_path):
    wandb = tmp_path / "seed0" / "wandb"
    wandb.mkdir(parents=True)
    (wandb / "latest-run").symlink_to("run-1")
    with locked(tmp_path), locked(tmp_path / "seed0"):
        pass
    (tmp_path / "seed0" / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="symbolic link"), locked(tmp_path / "seed0"):
        pass


def test_settings_that_were_changed_by_hand_are_noticed(tmp_path):
    write(tmp_path, Config())
    saved = {"env_step": 0, "settings": json.loads(json.dumps(lasting(Config())))}
    check_checkpoint(tmp_path, Config(), saved)
    check_checkpoint(tmp_path, Config(), {"env_step": 0})  # of an older checkpoint
    check_checkpoint(tmp_path, Config(env_steps=7, precision="float32"), saved)
    other = Config(gpld=dataclasses.replace(GPLDConfig(), lambda0=0.25))
    with pytest.raises(UsageError, match=r"config\.json was changed .*gpld\.lambda0 is 0\.5 there"):
        check_checkpoint(tmp_path, other, saved)
