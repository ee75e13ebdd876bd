"""Which files a store writes, when, and what it accepts."""

import numpy as np
import pytest
from list_replay import (
    MUTABLE,
    SPECS,
    empty_replay,
    filled_replay,
    pieces,
    random_latents,
    random_steps,
    verify,
)

from gpld.errors import Unsuitable
from gpld.replay import ReplayStore

# What is written


def _written(manifest, before=None):
    """Names of the files of a manifest that an earlier one has not."""
    names = {file["name"] for file in manifest["files"]}
    return names - ({file["name"] for file in before["files"]} if before else set())


def _store(folder, steps_per_chunk, num_streams=1):
    """A store with so many steps in a chunk."""
    larger = sum(spec.nbytes for name, spec in SPECS.items() if name not in MUTABLE)
    return ReplayStore(folder, chunk_bytes=larger * num_streams * steps_per_chunk)


def test_only_what_has_changed_is_written_again(tmp_path):
    replay, store = filled_replay(95, num_streams=2), _store(tmp_path, 10, num_streams=2)
    first = store.snapshot(replay).write()
    assert len(_written(first)) == 2 * 10
    assert _written(store.snapshot(replay).write(), first) == set()
    # Steps 42 and 43 are in chunk 4, and steps 59 and 60 in chunks 5 and 6.
    sample = replay.sample(2)._replace(stream=np.array([0, 1]), start=np.array([41, 58]))
    replay.refresh(sample, random_latents((2, 2), np.random.default_rng(0)))
    replay.add(random_steps(2, 95))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = store.snapshot(replay).write()
    chunks = {name[: name.rindex("-")] for name in _written(second, first)}
    assert chunks == {
        *(f"mutable-{chunk:06d}" for chunk in (4, 5, 6, 9)),
        "immutable-000009",  # the last one was not full
    }
    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert before.items() < after.items()  # nothing was written in place
    written = sum(path.stat().st_size for path in after.keys() - before.keys())
    total = sum(file["bytes"] for file in second["files"])
    assert written < 0.3 * total


def test_full_chunks_of_what_never_changes_are_written_once(tmp_path):
    replay, store = empty_replay(capacity=40), _store(tmp_path, 10)
    rng, files = np.random.default_rng(0), []
    for time in range(100):
        replay.add(random_steps(1, time, rng))
        if time >= 5:
            sample = replay.sample(4)
            replay.refresh(sample, random_latents((4, 2), rng))
        if time % 3 == 0:
            files += store.snapshot(replay).write()["files"]
    versions = {
        chunk: {f["name"] for f in files if f["name"].startswith(f"immutable-{chunk:06d}")}
        for chunk in range(10)
    }
    full = {f["name"] for f in files if f["num_steps"] == 10}
    assert [len(names & full) for names in versions.values()] == 10 * [1]
    # Saved every third step until then.
    assert max(map(len, versions.values())) == 4


def test_resuming_writes_only_what_changes_afterwards(tmp_path):
    first = _store(tmp_path, 10).snapshot(filled_replay(95)).write()
    replay, store = empty_replay(), ReplayStore(tmp_path)
    store.load(first, replay)
    assert _written(store.snapshot(replay).write(), first) == set()
    replay.add(random_steps(1, 95))
    assert len(_written(store.snapshot(replay).write(), first)) == 2


def test_what_is_kept_while_writing_is_no_more_than_what_changes(tmp_path):
    replay, store = filled_replay(500), _store(tmp_path, 100)
    snapshot = store.snapshot(replay)
    rng = np.random.default_rng(0)
    for _ in range(50):  # always the same steps
        sample = replay.sample(2)._replace(stream=np.zeros(2, int), start=np.array([97, 98]))
        replay.refresh(sample, random_latents((2, 2), rng))
    kept = [kept for file in snapshot._pending for kept in file.steps._kept]
    assert sum(old.offsets.size for old in kept) == 3  # steps 98, 99 and 100
    snapshot.write()
    assert not any(file.steps._kept for file in snapshot._pending)


def test_files_are_plain_arrays(tmp_path):
    manifest = (
        _store(tmp_path, 10, num_streams=2).snapshot(filled_replay(10, num_streams=2)).write()
    )
    files = {f["group"]: np.load(tmp_path / f["name"]) for f in manifest["files"]}
    np.testing.assert_array_equal(files["immutable"]["time"], [range(10), range(10)])
    assert files["mutable"]["latent"].shape == (2, 10, 2)
    # bfloat16 as integers of the same bits, since NumPy's files know no such thing.
    assert files["mutable"]["latent/deter"].dtype == np.uint16
    assert manifest["arrays"]["mutable"]["latent/deter"] == {"dtype": "bfloat16", "shape": [3]}


def test_a_store_without_mutable_arrays(tmp_path):
    manifest = ReplayStore(tmp_path).snapshot(filled_replay(10, mutable=[])).write()
    assert {file["group"] for file in manifest["files"]} == {"immutable"}
    replay = empty_replay(mutable=[])
    ReplayStore(tmp_path).load(manifest, replay)
    assert replay.num_windows == 8


def test_an_empty_replay_is_saved_and_loaded(tmp_path):
    manifest = ReplayStore(tmp_path / "steps").snapshot(empty_replay()).write()
    replay = empty_replay(seed=1)
    ReplayStore(tmp_path / "steps").load(manifest, replay)
    assert replay.get_state() == empty_replay().get_state()


# One snapshot at a time


def test_one_snapshot_at_a_time(tmp_path):
    replay, store = filled_replay(10), ReplayStore(tmp_path)
    forgotten, snapshot = store.snapshot(replay), store.snapshot(replay)
    with pytest.raises(RuntimeError, match="written or discarded before"):
        forgotten.write()
    parts = pieces(snapshot)
    next(parts)
    with pytest.raises(RuntimeError, match="is being written"):
        store.snapshot(replay)
    parts.close()
    verify(tmp_path, store.snapshot(replay).write())
    assert replay.ring.watcher is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_streams": 2}, "another `num_streams`: 1 instead of 2"),
        ({"mutable": ["latent"]}, "another `arrays`"),
    ],
)
def test_what_is_loaded_must_fit(tmp_path, changes, message):
    manifest = ReplayStore(tmp_path).snapshot(filled_replay(10)).write()
    with pytest.raises(Unsuitable, match=message):
        ReplayStore(tmp_path).load(manifest, empty_replay(**changes))


def test_a_replay_with_steps_is_not_loaded_into(tmp_path):
    manifest = ReplayStore(tmp_path).snapshot(filled_replay(10)).write()
    with pytest.raises(ValueError, match="must be empty"):
        ReplayStore(tmp_path).load(manifest, filled_replay(1))
