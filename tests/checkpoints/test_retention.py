"""No start destroys a run: what cannot be used is left as it is, and said."""

import dataclasses
import errno
import json
import os
import resource
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES

from gpld import agent
from gpld.checkpoints import checkpoint, tree_file
from gpld.checkpoints.retention import Archive, Contents
from gpld.checkpoints.writer import Checkpointer
from gpld.config import CheckpointConfig
from gpld.errors import MachineError, UsageError
from gpld.replay import Replay, StepSpec
from gpld.runs.folder import RunFolder

STOPWATCH = {"elapsed": 1.5, "seconds": {"update": 0.5}}
SPECS = {"x": StepSpec((), np.dtype(np.float32)), "is_first": StepSpec((), np.dtype(bool))}


@pytest.fixture(scope="module")
def state():
    return jax.jit(lambda key: agent.init(CONFIG, SHAPES, ACTION_SIZE, key=key))(jax.random.key(0))


def make_replay(manifest=None):
    del manifest
    return Replay(SPECS, num_streams=1, window=2, capacity=100, max_steps=100, mutable=("x",))


def manifest(env_step, logs):
    clocks = {"env_step": env_step, "update": 0, "keep_agent": False}
    return {**clocks, "logs": logs, "stopwatch": STOPWATCH, "settings": {}}


@dataclasses.dataclass
class Run:
    """A run folder with checkpoints, and what its next start finds there."""

    folder: RunFolder
    state: agent.AgentState
    said: list[str] = dataclasses.field(default_factory=list)

    def save(self, *env_steps):
        archive = Archive(self.folder, CheckpointConfig(keep=3), self.said.append)
        if not archive.path.exists():
            archive.prepare(None)
        replay = make_replay()
        for env_step in env_steps:
            self.folder.append("metrics", [{"env_step": env_step}] if env_step else [])
            while replay.num_added < env_step:
                replay.add({"x": np.ones(1, np.float32), "is_first": np.zeros(1, bool)})
            snapshot = archive.store.snapshot(replay)
            loop = tree_file.dump({"env_step": env_step})
            logs = self.folder.log_sizes()
            archive.save(Contents(self.state, loop, snapshot, manifest(env_step, logs)))

    def start(self, like=None):
        """Env step that the run goes on from; None if it begins."""
        archive = Archive(self.folder, CheckpointConfig(keep=3), self.said.append)
        with Checkpointer([archive], minutes=1.0) as checkpointer:
            saved = checkpointer.latest(like or self.state, [make_replay])
            checkpointer.prepare()
        return None if saved is None else saved[0].loop["env_step"]

    def files(self):
        paths = [path for path in self.folder.path.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder.path)): path.read_bytes() for path in paths}

    def checkpoint(self, name):
        return self.folder.path / "checkpoints" / name


@pytest.fixture
def run(tmp_path, state):
    path = tmp_path / "run"
    path.mkdir()
    return Run(RunFolder(path), state)


def check_refused(run, error, said, like=None):
    """That two starts in a row say why they do not go on, and change nothing."""
    before = run.files()
    for _ in range(2):
        with pytest.raises(error, match=said) as raised:
            run.start(like)
        assert "\n" not in str(raised.value)
        assert "Nothing was changed" in str(raised.value)
    assert run.files() == before
    assert run.said == []


def test_the_last_checkpoint_is_gone_on_from(run):
    run.save(0, 10, 20)
    assert run.start() == 20


def test_a_run_that_has_left_nothing_begins(run):
    assert run.start() is None


def test_a_newer_format_is_not_damage(run):
    run.save(10, 20)
    for name in ("000000010", "000000020"):
        path = run.checkpoint(name) / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "format": 7}))
    check_refused(run, UsageError, "has format 7 and this version of gpld reads")


def test_other_dtypes_are_not_damage(run):
    run.save(10, 20)
    wide = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if eqx.is_inexact_array(x) else x, run.state
    )
    check_refused(run, UsageError, "does not hold this agent", like=wide)


def test_another_replay_is_not_damage(run):
    run.save(10)
    path = run.checkpoint("000000010") / "manifest.json"
    before = run.files()
    archive = Archive(run.folder, CheckpointConfig(), run.said.append)
    other = Replay(SPECS, num_streams=2, window=2, capacity=9, max_steps=9, mutable=("x",))
    with (
        Checkpointer([archive], minutes=1.0) as checkpointer,
        pytest.raises(UsageError, match="num_streams"),
    ):
        checkpointer.latest(run.state, [lambda _: other])
    assert path.exists()
    assert run.files() == before


def test_a_missing_replay_sets_nothing_aside(run):
    run.save(0, 10, 20)
    shutil.rmtree(run.checkpoint("replay"))
    check_refused(run, MachineError, "cannot be read: No such file")


def test_the_beginning_does_not_stand_in_for_a_damaged_checkpoint(run):
    run.save(0, 20)
    (run.checkpoint("000000020") / "loop.npz").write_bytes(b"")
    check_refused(run, MachineError, r"loop\.npz has 0 of")


def test_a_kill_before_anything_else_was_saved_goes_on_from_the_beginning(run):
    run.save(0)
    run.folder.append("metrics", [{"env_step": 5}])
    assert run.start() == 0


def test_emptied_checkpoints_do_not_begin_a_run_anew(run):
    run.save(0, 10)
    shutil.rmtree(run.checkpoint(""))
    check_refused(run, UsageError, "has been trained before, but holds no checkpoint")
    run.checkpoint("").mkdir()
    check_refused(run, UsageError, "has been trained before, but holds no checkpoint")


def test_what_was_set_aside_does_not_begin_a_run_anew(run):
    run.checkpoint("damaged-000000010").mkdir(parents=True)
    check_refused(run, UsageError, "has been trained before, but holds no checkpoint")


def test_a_damaged_checkpoint_is_set_aside_once_another_is_used(run):
    run.save(10, 20)
    (run.checkpoint("000000020") / "manifest.json").write_text("{")
    run.checkpoint("damaged-000000020").mkdir()
    assert run.start() == 10
    assert run.checkpoint("damaged-000000020-2").is_dir()
    assert list(run.checkpoint("damaged-000000020").iterdir()) == []
    (line,) = run.said
    assert "damaged" in line
    assert "set aside as damaged-000000020-2, the one before it is used" in line
    assert run.start() == 10


def test_names_of_others_are_left_alone(run):
    run.save(10)
    run.checkpoint(".a.tmp").touch()
    run.checkpoint("000000260.bak").mkdir()
    assert run.start() == 10
    assert run.checkpoint(".a.tmp").exists()
    assert run.checkpoint("000000260.bak").exists()


def _replay_files(run):
    return {path.name for path in run.checkpoint("replay").iterdir()}


def test_a_checkpoint_that_cannot_be_written_leaves_no_files_of_the_replay(run):
    run.save(10)
    before = _replay_files(run)
    archive = Archive(run.folder, CheckpointConfig(), run.said.append)
    replay = make_replay()
    replay.add({"x": np.ones(1, np.float32), "is_first": np.zeros(1, bool)})
    snapshot = archive.store.snapshot(replay)
    contents = Contents(run.state, tree_file.dump({}), snapshot, manifest(20, {}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))  # less than the agent
    try:
        with pytest.raises(OSError, match="File too large"):
            archive.save(contents)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _replay_files(run) == before
    assert run.start() == 10


def test_a_rotation_that_fails_deletes_all_else(run, monkeypatch):
    run.save(*range(10, 60, 10))
    # Of the two oldest of five the first cannot be deleted.
    rename = Path.rename

    def fail_once(path, target):
        if path.name == "000000010":
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    archive = Archive(run.folder, CheckpointConfig(keep=3), run.said.append)
    with pytest.raises(MachineError, match=r"Cannot delete old checkpoints in .* busy"):
        archive.rotate()
    left = [path.name for path in run.folder.checkpoint_paths()]
    assert left == ["000000010", "000000030", "000000040", "000000050"]
    needed = {
        file["name"]
        for path in run.folder.checkpoint_paths()
        for file in checkpoint.read(path).manifest["replay"]["files"]
    }
    assert _replay_files(run) == needed
    monkeypatch.undo()
    run.checkpoint(".000000010.tmp").touch()  # of no use, and not in the way
    archive.rotate()
    assert len(run.folder.checkpoint_paths()) == 3


def test_runs_of_several_seeds_without_a_common_moment_are_left_alone(tmp_path, state):
    runs = []
    for name, env_step in (("seed0", 10), ("seed1", 20)):
        (tmp_path / name).mkdir()
        runs.append(Run(RunFolder(tmp_path / name), state))
        runs[-1].save(env_step)
    before = [run.files() for run in runs]
    archives = [Archive(run.folder, CheckpointConfig(), run.said.append) for run in runs]
    with (
        Checkpointer(archives, minutes=1.0) as checkpointer,
        pytest.raises(MachineError, match="no checkpoint of the same moment"),
    ):
        checkpointer.latest(state, [make_replay, make_replay])
    assert [run.files() for run in runs] == before


def test_seeds_killed_while_their_beginning_was_saved_begin(tmp_path, state):
    runs = []
    for name in ("seed0", "seed1"):
        (tmp_path / name).mkdir()
        runs.append(Run(RunFolder(tmp_path / name), state))
    runs[0].save(0)
    archives = [Archive(run.folder, CheckpointConfig(), run.said.append) for run in runs]
    with Checkpointer(archives, minutes=1.0) as checkpointer:
        assert checkpointer.latest(state, [make_replay, make_replay]) is None
        checkpointer.prepare()
    assert runs[0].folder.checkpoint_paths() == []


def _fail_to_open(monkeypatch, name, number):
    """Lets the system fail to open files whose path ends so, as it may for a moment."""
    real = os.open

    def fake(path, *args, **kwargs):
        if str(path).endswith(name):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", fake)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.EIO, errno.ENOENT])
def test_nothing_is_pruned_while_a_manifest_cannot_be_read(run, monkeypatch, number):
    run.save(*range(10, 50, 10))
    before = _replay_files(run)
    archive = Archive(run.folder, CheckpointConfig(keep=1), run.said.append)
    with monkeypatch.context() as patch:
        _fail_to_open(patch, "manifest.json", number)
        archive.rotate()
    assert _replay_files(run) == before
    assert run.start() == 40


@pytest.mark.parametrize("name", ["manifest.json", "agent.eqx", "loop.npz", "replay"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_what_the_machine_cannot_read_now_is_no_damage(run, monkeypatch, name, number):
    run.save(10, 20)
    # Of the last checkpoint alone: were that damage, the one before it would be used.
    name = max(_replay_files(run)) if name == "replay" else f"000000020/{name}"
    with monkeypatch.context() as patch:
        _fail_to_open(patch, name, number)
        check_refused(run, MachineError, f"{name} cannot be read: {os.strerror(number)}")
    assert run.start() == 20


def test_what_was_set_aside_before_keeps_a_run_from_its_beginning(run):
    run.save(0, 20)
    run.checkpoint("000000020").rename(run.checkpoint("damaged-000000020"))
    check_refused(run, UsageError, "has been trained before, but holds only that of its beginning")


def test_a_damaged_checkpoint_before_the_one_that_is_used_is_set_aside(run):
    run.save(10, 20)
    (run.checkpoint("000000010") / "manifest.json").write_text("{")
    assert run.start() == 20
    (line,) = run.said
    assert line.endswith("set aside as damaged-000000010")


def _seeds(tmp_path, state, *env_steps):
    runs = []
    for i, own in enumerate(env_steps):
        (tmp_path / f"seed{i}").mkdir()
        runs.append(Run(RunFolder(tmp_path / f"seed{i}"), state))
        runs[-1].save(*own)
    return runs


def _start_all(runs):
    archives = [Archive(run.folder, CheckpointConfig(), run.said.append) for run in runs]
    with Checkpointer(archives, minutes=1.0) as checkpointer:
        saved = checkpointer.latest(runs[0].state, [make_replay for _ in runs])
        checkpointer.prepare()
    return None if saved is None else [one.loop["env_step"] for one in saved]


def test_what_one_seed_was_trained_for_is_not_deleted_for_the_beginning(tmp_path, state):
    runs = _seeds(tmp_path, state, (0, 10, 20), (0,))
    agent_file = runs[0].checkpoint("000000020") / "agent.eqx"
    before = agent_file.read_bytes()
    assert _start_all(runs) == [0, 0]
    names = [path.name for path in runs[0].checkpoint("").glob("later-*")]
    assert sorted(names) == ["later-000000010", "later-000000020"]
    assert (runs[0].checkpoint("later-000000020") / "agent.eqx").read_bytes() == before
    assert "is kept as later-000000010" in runs[0].said[0]
    runs[0].save(30)
    Archive(runs[0].folder, CheckpointConfig(keep=1), runs[0].said.append).rotate()
    later = checkpoint.read(runs[0].checkpoint("later-000000020")).manifest["replay"]
    assert {file["name"] for file in later["files"]} <= _replay_files(runs[0])


def test_what_only_some_seeds_have_saved_is_deleted_and_made_again(tmp_path, state):
    runs = _seeds(tmp_path, state, (10, 20), (10,))
    assert _start_all(runs) == [10, 10]
    assert [path.name for path in runs[0].folder.checkpoint_paths()] == ["000000010"]


def test_the_damaged_one_of_several_seeds_is_named(tmp_path, state):
    runs = _seeds(tmp_path, state, (0, 20), (0, 20))
    (runs[1].checkpoint("000000020") / "loop.npz").write_bytes(b"")
    before = [run.files() for run in runs]
    with pytest.raises(MachineError, match=r"loop\.npz has 0 of") as raised:
        _start_all(runs)
    said = str(raised.value)
    assert said.startswith(f"{runs[1].folder.path} cannot go on with the others: ")
    assert said.endswith("Nothing was changed; the others can go on alone with `--resume`.")
    assert [run.files() for run in runs] == before
