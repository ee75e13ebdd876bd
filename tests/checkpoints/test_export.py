"""Exported agents: small, whole, the same agents, and nothing to resume from."""

import dataclasses
import errno
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES
from run_folders import write_run

import gpld
from gpld import agent
from gpld.checkpoints import checkpoint, tree_file
from gpld.checkpoints.export import export
from gpld.config import CheckpointConfig, InitConfig
from gpld.envs import ArraySpec, EnvSpec, spec_to_json
from gpld.errors import Damaged, MachineError, UsageError
from gpld.runs.folder import RunFolder

SPEC = EnvSpec(
    observation={name: ArraySpec(shape, "float32") for name, shape in SHAPES.items()},
    action_size=ACTION_SIZE,
    action_repeat=2,
    episode_steps=500,
)
OWN = dataclasses.replace(
    CONFIG,
    task="walker_walk",
    run="/home/somebody/runs/walker",
    offline="/home/somebody/data/walks",
    init=InitConfig(from_="/home/somebody/runs/donor", freeze=True),
)


@pytest.fixture(scope="module")
def state():
    new = jax.jit(lambda key: agent.init(CONFIG, SHAPES, ACTION_SIZE, key=key))(jax.random.key(0))
    # As after training: nothing is zero, and the slow value is another one.
    new = jax.tree.map(lambda x: x + 0.5 if jnp.issubdtype(x.dtype, jnp.floating) else x, new)
    slow = jax.tree.map(lambda x: x + 0.25, new.slow_value)
    return dataclasses.replace(new, slow_value=slow, update=jnp.asarray(7, jnp.int32))


@pytest.fixture
def run(state, tmp_path):
    folder = write_run(tmp_path / "run", OWN, [(100, [5.0]), (200, [6.0]), (300, [7.0])])
    record = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(record | {"env": spec_to_json(SPEC)}))
    (folder.path / "checkpoints").mkdir()
    replay = {"format": 1, "chunk_length": 100, "num_streams": 1, "files": [],
              "arrays": {"immutable": {}, "mutable": {}},
              "state": {"num_added": 0, "oldest": 0}}  # fmt: skip
    for env_step in (100, 200):
        manifest = {"env_step": env_step, "update": 7, "keep_agent": False, "replay": replay}
        path, loop = folder.checkpoint_path(env_step), tree_file.dump({"env_step": env_step})
        checkpoint.write(path, state, loop, manifest | {"logs": {}})
    return folder


def test_the_agent_is_the_same_without_its_optimiser(run, state, tmp_path):
    exported = export(run, tmp_path / "agent", 100)
    loaded = gpld.load(tmp_path / "agent")
    assert eqx.tree_equal(loaded.state, dataclasses.replace(state, opt_state=()))
    assert eqx.tree_equal(loaded.state.model, gpld.load(run.path, env_step=100).state.model)
    assert [line["env_step"] for line in exported.read("scores")] == [100]
    assert list(exported.checkpoints()) == [100]
    (size,), (whole,) = (
        [path.stat().st_size for path in folder.path.glob("checkpoints/*100/agent.eqx")]
        for folder in (exported, run)
    )
    assert size < 0.45 * whole


def test_the_latest_is_the_default_and_an_exported_agent_can_be_exported(run, tmp_path):
    first = export(run, tmp_path / "first")
    second = export(first, tmp_path / "second")
    assert list(second.checkpoints()) == [200]
    assert len(second.read("scores")) == 2
    for path in first.path.rglob("*.*"):
        assert path.read_bytes() == (second.path / path.relative_to(first.path)).read_bytes()


def test_where_the_run_was_is_not_said(run, tmp_path):
    exported = export(run, tmp_path / "agent")
    texts = [path.read_text() for path in exported.path.rglob("*.json*")]
    assert len(texts) == 4
    assert not any("/home" in text for text in texts)
    init = InitConfig(from_="donor", freeze=True)
    assert exported.config() == dataclasses.replace(OWN, run="walker", offline="walks", init=init)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent", "run"]


def test_it_cannot_be_resumed_from(run, state, tmp_path):
    from gpld.checkpoints.retention import Archive

    exported = export(run, tmp_path / "agent")
    saved = checkpoint.read(exported.latest_checkpoint())
    assert (saved.resumable, saved.has_optimizer) == (False, False)
    assert Archive(exported, CheckpointConfig(), warn=pytest.fail).moments() == set()
    with pytest.raises(Damaged, match=r"no longer has its loop\.npz"):
        checkpoint.load_loop(saved)


def test_a_manifest_that_contradicts_itself_is_damaged(run, tmp_path):
    path = run.checkpoint_path(200)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]
    for value, reason in ((False, "it has a replay, but no optimiser"), ("no", "optimiser")):
        (path / "manifest.json").write_text(json.dumps(manifest | {"optimizer": value}))
        with pytest.raises(Damaged, match=reason):
            checkpoint.read(path)


@pytest.mark.parametrize("name", ["agent.eqx", "manifest.json"])
def test_a_changed_byte_is_found(run, tmp_path, name):
    exported = export(run, tmp_path / "agent")
    (path,) = exported.path.rglob(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Damaged, match=name):
        gpld.load(exported.path)


def test_what_is_in_the_folder_stays(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("mine", "link"):
        with pytest.raises(UsageError, match=rf"`folder` must be new, but there is .*/{name}\.$"):
            export(run, tmp_path / name)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gpld.checkpoints.export.checkpoint.write_agent", full)
    with pytest.raises(MachineError, match="No space left"):
        export(run, tmp_path / "agent")
    monkeypatch.undo()
    assert list(export(run, tmp_path / "agent").checkpoints()) == [200]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent", "run"]


def test_what_is_not_there_is_said_and_leaves_nothing(run, tmp_path):
    target = tmp_path / "agent"
    with pytest.raises(UsageError, match=r"`env_step` .* \(100, 200\), got 150\.$"):
        export(run, target, 150)
    with pytest.raises(UsageError, match="is not a run folder"):
        export(RunFolder(tmp_path / "nowhere"), target)
    for path in run.checkpoint_paths():
        checkpoint.delete(path)
    with pytest.raises(MachineError, match="holds no checkpoint"):
        export(run, target)
    assert not target.exists()
