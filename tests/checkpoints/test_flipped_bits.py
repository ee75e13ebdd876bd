"""Every bit of a checkpoint counts: a flipped one is found, and the checkpoint before is used."""

import json
import random

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES

from gpld import agent
from gpld.checkpoints import checkpoint, tree_file
from gpld.checkpoints.retention import Archive, Contents
from gpld.checkpoints.writer import Checkpointer
from gpld.config import CheckpointConfig
from gpld.errors import Damaged, Unsuitable, UsageError
from gpld.replay import Replay, StepSpec
from gpld.runs.folder import RunFolder

FLAGS = ("is_first", "is_last")
SPECS = {"x": StepSpec((), np.dtype(np.float32))} | {
    name: StepSpec((), np.dtype(bool)) for name in FLAGS
}
STOPWATCH = {"elapsed": 1.5, "seconds": {"update": 0.5}}
FIRST, LAST = 5, 9


def _make_replay(manifest=None):
    del manifest
    return Replay(SPECS, num_streams=2, window=2, capacity=100, max_steps=100, mutable=("x",))


@pytest.fixture(scope="module")
def state():
    return jax.jit(lambda key: agent.init(CONFIG, SHAPES, ACTION_SIZE, key=key))(jax.random.key(0))


def _archive(folder):
    return Archive(folder, CheckpointConfig(keep=2), pytest.fail)


@pytest.fixture
def folder(state, tmp_path):
    """A run with two checkpoints, the later of which will be spoiled."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    archive, replay = _archive(folder), _make_replay()
    archive.prepare(None)
    for env_step in (FIRST, LAST):
        folder.append("metrics", [{"env_step": env_step}])
        while replay.num_added < env_step:
            flags = {name: np.zeros(2, bool) for name in FLAGS}
            replay.add({"x": np.full(2, env_step, np.float32), **flags})
        replay.sample(1)
        loop = tree_file.dump({"env_step": env_step, "array": np.arange(3.0)})
        snapshot = archive.store.snapshot(replay)
        manifest = {
            "env_step": env_step,
            "update": 0,
            "keep_agent": True,
            "logs": folder.log_sizes(),
            "stopwatch": STOPWATCH,
            "settings": {},
        }
        archive.save(Contents(state, loop, snapshot, manifest))
    return folder


def _start(folder, state):
    """What the run goes on from, and what is wrong with other checkpoints."""
    archive = _archive(folder)
    with Checkpointer([archive], minutes=1.0) as checkpointer:
        [saved] = checkpointer.latest(state, [_make_replay])
    return saved, archive.damage


def _last_files(folder):
    """Files that only the last checkpoint has."""
    first, last = (checkpoint.read(path) for path in folder.checkpoint_paths())
    own = {file["name"] for file in last.manifest["replay"]["files"]}
    own -= {file["name"] for file in first.manifest["replay"]["files"]}
    assert len(own) == 2
    store = folder.path / "checkpoints" / "replay"
    return [last.path / name for name in ("manifest.json", "agent.eqx", "loop.npz")] + [
        store / name for name in sorted(own)
    ]


def _flipped(data, bit):
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _check_starts(folder, state, count):
    """That starts from a checkpoint with a flipped bit in a file go on from the one before."""
    intact, _ = _start(folder, state)
    assert intact.loop["env_step"] == LAST
    rng = random.Random(0)
    for path in _last_files(folder):
        whole = path.read_bytes()
        for bit in rng.sample(range(8 * len(whole)), count):
            path.write_bytes(_flipped(whole, bit))
            saved, damage = _start(folder, state)
            if damage:
                assert saved.loop["env_step"] == FIRST, (path.name, bit)
            else:  # such as a space that became a tab
                assert saved.manifest == intact.manifest, (path.name, bit)
                assert saved.replay.get_state() == intact.replay.get_state()
                assert eqx.tree_equal(saved.agent, intact.agent)
        path.write_bytes(whole)


def _check_manifest(folder, step):
    """That a manifest with a flipped bit is damaged, or says the same."""
    path = folder.checkpoint_paths()[-1] / "manifest.json"
    whole, manifest = path.read_bytes(), checkpoint.read(path.parent).manifest
    found = 0
    for bit in range(0, 8 * len(whole), step):
        path.write_bytes(_flipped(whole, bit))
        try:
            assert checkpoint.read(path.parent).manifest == manifest, bit
        except Damaged:
            found += 1
    path.write_bytes(whole)
    assert found > 0.7 * 8 * len(whole) / step


def test_some_flipped_bits_are_found(folder, state):
    _check_manifest(folder, 101)
    _check_starts(folder, state, 3)


@pytest.mark.exhaustive
def test_every_flipped_bit_of_a_manifest_is_found(folder, state):
    _check_manifest(folder, 1)
    _check_starts(folder, state, 200)


def _without_checksum(folder):
    """Makes manifests those of older versions."""
    for path in folder.checkpoint_paths():
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["sha256"], manifest["stopwatch"]
        (path / "manifest.json").write_text(json.dumps(manifest, indent=1))


def test_manifests_without_a_checksum_are_still_read(folder, state):
    _without_checksum(folder)
    saved, damage = _start(folder, state)
    assert (saved.loop["env_step"], damage) == (LAST, [])


# What a flipped bit can change in a manifest without a checksum so that it still makes sense.
_UNSEEN = {"rng", "chunk_length", "oldest", "metrics.jsonl"}


def _differing(a, b, name=""):
    """Names of what differs between two manifests."""
    if name != "rng" and isinstance(a, dict) and a.keys() == b.keys():
        return {found for key in a for found in _differing(a[key], b[key], key)}
    return set() if a == b else {name}


@pytest.mark.exhaustive
def test_of_old_manifests_what_contradicts_itself_is_found(folder, state):
    _without_checksum(folder)
    intact, _ = _start(folder, state)
    path = intact.path / "manifest.json"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        path.write_bytes(_flipped(whole, bit))
        try:
            checkpoint.read(path.parent)
        except Damaged:
            continue
        except Unsuitable:
            pass
        try:
            saved, damage = _start(folder, state)
        except UsageError as error:  # another format or other arrays: nothing is touched
            assert "Nothing was changed" in str(error)  # noqa: PT017
            continue
        if not damage:
            assert _differing(saved.manifest, intact.manifest) <= _UNSEEN, bit


def _set(**changes):
    return lambda manifest: manifest.update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(env_step=8), "it is of env step 8"),
        (_set(env_step=-9), "a clock is no number"),
        (_set(update="0"), "a clock is no number"),
        (_set(update=1), "is of another update"),
        (_set(extra=1), "it says"),
        (lambda manifest: manifest.pop("logs"), "how long the logs are|too little"),
        (_set(logs={"metrics.jsonl": -1}), "how long the logs are"),
        (_set(logs={"oetrics.jsonl": 20}), "names the logs"),
        (_set(keep_agent=1), "too little"),
        (_set(stopwatch={"elapsed": "1", "seconds": {}}), "stopwatch"),
        (_set(stopwatch={"elapsed": 1.0, "seconds": [1]}), "stopwatch"),
        (_set(files={}), "other files"),
        (lambda manifest: manifest["files"].pop("loop.npz"), "too little"),
        (_set(format=3), "its format is 3"),
        (_set(format="1"), "its format is '1'"),
        (_set(replay=[]), "no object"),
        (lambda manifest: manifest["replay"].update(files=[]), "0 files for"),
    ],
)
def test_an_old_manifest_that_contradicts_itself_is_damaged(folder, state, change, said):
    path = folder.checkpoint_paths()[-1] / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match=said):
        checkpoint.load_agent(checkpoint.read(path.parent), state)
    saved, _ = _start(folder, state)
    assert saved.loop["env_step"] == FIRST
