"""Checkpoints are whole or absent, and say what is wrong with them."""

import errno
import json
import os
import resource

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES

from gpld import agent
from gpld.checkpoints import checkpoint, tree_file
from gpld.errors import Damaged, MachineError, Unsuitable, UsageError

LOOP = {"env_step": 8, "scores": np.arange(3.0)}
REPLAY = {
    "format": 1,
    "chunk_length": 100,
    "num_streams": 1,
    "arrays": {"immutable": {}, "mutable": {}},
    "state": {"num_added": 0, "oldest": 0},
    "files": [],
}
MANIFEST = {"env_step": 8, "update": 0, "keep_agent": False, "replay": REPLAY, "logs": {}}


@pytest.fixture(scope="module")
def state():
    return jax.jit(lambda key: agent.init(CONFIG, SHAPES, ACTION_SIZE, key=key))(jax.random.key(0))


@pytest.fixture
def saved(state, tmp_path):
    path = tmp_path / "000000008"
    checkpoint.write(path, state, tree_file.dump(LOOP), MANIFEST)
    return path


def test_what_is_written_comes_back(saved, state):
    found = checkpoint.read(saved)
    assert (found.env_step, found.resumable) == (8, True)
    like = eqx.filter_eval_shape(agent.init, CONFIG, SHAPES, ACTION_SIZE, key=jax.random.key(0))
    assert eqx.tree_equal(checkpoint.load_agent(found, like), state)
    loop = checkpoint.load_loop(found)
    assert loop["env_step"] == 8
    np.testing.assert_array_equal(loop["scores"], LOOP["scores"])
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, r"has \d+ of \d+ bytes"),
        (_flip, "does not match its checksum"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
)
def test_damage_is_named(saved, state, damage, message):
    found = checkpoint.read(saved)
    for name, load in (
        ("agent.eqx", lambda: checkpoint.load_agent(found, state)),
        ("loop.npz", lambda: checkpoint.load_loop(found)),
    ):
        damage(saved / name)
        with pytest.raises(Damaged, match=f"{name} {message}"):
            load()
    with pytest.raises(MachineError, match=f"agent.eqx {message}"):
        checkpoint.load(saved, state)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}'])
def test_a_manifest_that_says_nothing_is_named(saved, text):
    (saved / "manifest.json").write_text(text)
    with pytest.raises(Damaged, match=r"manifest\.json is missing or damaged"):
        checkpoint.read(saved)


def test_another_format_is_no_damage(saved, state):
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(Unsuitable, match="has format 99 and this version of gpld reads 1"):
        checkpoint.read(saved)
    with pytest.raises(UsageError, match="has format 99"):
        checkpoint.load(saved, state)


def _other_shape(state):
    return eqx.tree_at(lambda s: s.model.policy.mean.bias, state, np.zeros(7, np.float32))


def _other_dtype(state):
    return eqx.tree_at(lambda s: s.model.policy.mean.bias, state, replace_fn=np.float64)


def _fewer_arrays(state):
    return eqx.tree_at(lambda s: s.update, state, None)


def _more_arrays(state):
    return eqx.tree_at(lambda s: s.update, state, (state.update, state.update))


@pytest.mark.parametrize("change", [_other_shape, _other_dtype, _fewer_arrays, _more_arrays])
def test_another_agent_is_no_damage(saved, state, change):
    with pytest.raises(Unsuitable, match=r"agent\.eqx does not hold this agent"):
        checkpoint.load_agent(checkpoint.read(saved), change(state))


def test_what_cannot_be_written_leaves_nothing(state, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(tmp_path / "000000008", state, tree_file.dump(LOOP), MANIFEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 100, 5_000, 100_000])
def test_a_write_that_stops_anywhere_is_an_error_of_the_disk(state, tmp_path, size):
    """Also inside Equinox, which wraps what goes wrong there; the system allows no larger file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.write(tmp_path / "000000008", state, tree_file.dump(LOOP), MANIFEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_unfinished_is_deleted_and_nothing_else(saved):
    unfinished = saved.with_name(".000000009.1.tmp")
    unfinished.mkdir()
    (unfinished / "agent.eqx").touch()
    saved.with_name(".000000010.tmp").touch()  # whatever it is, it would be in the way
    saved.with_name(".000000011.tmp").symlink_to(saved)
    others = [saved.with_name(name) for name in (".a.tmp", ".mine.tmp")]
    others[0].touch()
    others[1].mkdir()
    checkpoint.delete_unfinished(saved.parent)
    assert set(saved.parent.iterdir()) == {saved, *others}


def test_a_file_in_the_place_of_an_unfinished_one_is_not_in_the_way(saved, state):
    unfinished = saved.with_name(".000000009.tmp")
    unfinished.touch()
    path = saved.with_name("000000009")
    checkpoint.write(path, state, tree_file.dump(LOOP), MANIFEST | {"env_step": 9})
    unfinished.touch()
    checkpoint.delete(path)
    assert list(saved.parent.iterdir()) == [saved]


def _write_older_manifest(saved, **replay):
    """Writes a manifest without a checksum, as older versions did."""
    path = saved / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("sha256", None)
    path.write_text(json.dumps(manifest | {"replay": REPLAY | replay}))


def test_a_flipped_bit_in_the_format_of_a_replay_is_damage(saved):
    _write_older_manifest(saved)
    assert checkpoint.read(saved).resumable
    for number in (0, 3, 5, 9, "1", None):
        _write_older_manifest(saved, format=number)
        with pytest.raises(Damaged, match="its format is"):
            checkpoint.read(saved)
    _write_older_manifest(saved, format=2)
    with pytest.raises(Unsuitable, match="has format 2 and this version reads 1"):
        checkpoint.read(saved)


@pytest.mark.parametrize("number", [3, 2])
def test_another_format_of_a_replay_is_known_by_the_checksum(tmp_path, state, number):
    path = tmp_path / "000000008"
    manifest = MANIFEST | {"replay": REPLAY | {"format": number}}
    checkpoint.write(path, state, tree_file.dump(LOOP), manifest)
    with pytest.raises(Unsuitable, match=f"has format {number} and this version reads 1"):
        checkpoint.read(path)


def test_counts_beyond_all_numbers_are_damage(saved):
    _write_older_manifest(saved, state={"num_added": 10**30, "oldest": 0})
    with pytest.raises(Damaged, match="no such number"):
        checkpoint.read(saved)


def test_too_little_memory_is_no_other_agent(saved, state, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(MachineError, match=r"too little memory to load .*agent\.eqx"):
        checkpoint.load_agent(checkpoint.read(saved), state)


def test_an_old_checkpoint_keeps_its_agent(saved, state):
    checkpoint.keep_agent(checkpoint.read(saved))
    found = checkpoint.read(saved)
    assert not found.resumable
    assert eqx.tree_equal(checkpoint.load_agent(found, state), state)
    with pytest.raises(Damaged, match=r"no longer has its loop\.npz"):
        checkpoint.load_loop(found)
    assert sorted(path.name for path in saved.iterdir()) == ["agent.eqx", "manifest.json"]
    assert json.loads((saved / "manifest.json").read_text())["env_step"] == 8


def test_seconds_of_a_run_are_a_part_of_its_checkpoints(state, tmp_path):
    stopwatch = {"elapsed": 1.5, "seconds": {"update": 1}}
    checkpoint.write(
        tmp_path / "000000008", state, tree_file.dump(LOOP), MANIFEST | {"stopwatch": stopwatch}
    )
    assert checkpoint.read(tmp_path / "000000008").manifest["stopwatch"] == stopwatch
    for i, other in enumerate(
        [None, [], {"elapsed": 1.5}, stopwatch | {"seconds": {"update": "1"}}]
    ):
        path = tmp_path / f"{i}" / "000000008"
        path.parent.mkdir()
        checkpoint.write(path, state, tree_file.dump(LOOP), MANIFEST | {"stopwatch": other})
        with pytest.raises(Damaged, match="its stopwatch is none"):
            checkpoint.read(path)
