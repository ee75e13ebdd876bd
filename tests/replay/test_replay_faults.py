"""Damaged files, full disks and vanished folders, each by real means."""

import hashlib
import json
import re
import resource
import shutil
import subprocess

import numpy as np
import pytest
from list_replay import (
    empty_replay,
    filled_replay,
    pieces,
    random_latents,
    random_steps,
    verify,
)

from gpld.errors import Damaged, MachineError, Unsuitable
from gpld.replay import ReplayStore


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def _truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def _flip(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 16
    path.write_bytes(contents)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "has [0-9]+ of [0-9]+ bytes"),
        (_flip, "does not match its checksum"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
)
def test_damage_is_named_and_what_came_before_stays_good(tmp_path, damage, message):
    replay, store = filled_replay(95), ReplayStore(tmp_path, chunk_bytes=400)
    good = store.snapshot(replay).write()
    replay.add(random_steps(1, 95))
    bad = store.snapshot(replay).write()
    path = tmp_path / max({f["name"] for f in bad["files"]} - {f["name"] for f in good["files"]})
    damage(path)
    loaded = empty_replay()
    for check in (
        lambda manifest: verify(tmp_path, manifest),
        lambda manifest: ReplayStore(tmp_path).load(manifest, loaded),
    ):
        with pytest.raises(Damaged, match=f"^{re.escape(str(path))} {message}"):
            check(bad)
    assert loaded.num_added == 0
    verify(tmp_path, good)
    ReplayStore(tmp_path).load(good, loaded)  # into the same, which has stayed empty
    assert loaded.num_added == 95


def _file(**changes):
    return lambda manifest: manifest["files"][-1].update(changes)


def _state(**changes):
    return lambda manifest: manifest["state"].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest.update(files=[]), "it names 0 files for"),
        (lambda manifest: manifest["files"].pop(), "files for"),
        (lambda manifest: manifest["files"].append(manifest["files"][0]), "a chunk twice"),
        (_file(first_step=81), "holds the steps 81 to"),
        (_file(num_steps=1), "holds the steps"),
        (_file(first_step=70), "holds the steps"),
        (_file(num_steps=0), "does not describe files"),
        (_file(num_steps=-1), "does not describe files"),
        (_file(chunk=0), "does not describe files"),
        (_file(name="../../file.npy"), "does not describe files"),
        (_file(group="mutable("), "does not describe files"),
        (_file(group=["mutable"]), "does not describe files"),
        (_file(group="immutable"), "does not describe files"),
        (_file(bytes="9"), "does not describe files"),
        (_file(more=1), "does not describe files"),
        (lambda manifest: manifest.update(files=["a"]), "does not describe files"),
        (_state(num_added=96), "holds the steps"),
        (_state(num_added=94), "holds the steps"),
        (_state(num_added=10**15), "files for"),
        (_state(num_added=2**53), "no such number"),
        (_state(num_added=10**30), "no such number"),
        (lambda manifest: manifest.update(format=3), "its format is 3"),
        (_state(oldest=96), "beyond"),
        (_state(oldest=-1), "no such number"),
        (_state(oldest=0.0), "no such number"),
        (_state(queue=[[0, 7]]), "`queue` must hold the last complete windows"),
        (_state(queue=[[7]]), "state"),
        (_state(rng={"bit_generator": "PCG64"}), "state"),
        (_state(rng={"bit_generator": "MT19937", "state": {}}), "state"),
        (lambda manifest: manifest.update(state=[]), "does not say what was added"),
        (lambda manifest: manifest.update(chunk_length=0), "no such number"),
        (lambda manifest: manifest.update(chunk_length=7), "."),
        (lambda manifest: manifest.update(arrays={}), "the groups"),
        (lambda manifest: manifest.pop("arrays"), "it says"),
        (lambda manifest: manifest.update(more=1), "it says"),
    ],
)
def test_a_manifest_must_name_every_step_once(tmp_path, change, said):
    manifest = ReplayStore(tmp_path, chunk_bytes=400).snapshot(filled_replay(95)).write()
    manifest = json.loads(json.dumps(manifest))
    assert manifest["files"][-1]["first_step"] > 71
    change(manifest)
    loaded = empty_replay()
    with pytest.raises(Damaged, match=said):
        ReplayStore(tmp_path).load(manifest, loaded)
    assert loaded.num_added == 0


def test_too_many_open_files_are_no_damage(tmp_path):
    store = ReplayStore(tmp_path)
    manifest = store.snapshot(filled_replay(5)).write()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(MachineError, match=r"Too many open files\. Nothing was") as raised:
            verify(tmp_path, manifest)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not isinstance(raised.value, Damaged)
    verify(tmp_path, manifest)


def test_another_format_is_no_damage(tmp_path):
    manifest = ReplayStore(tmp_path).snapshot(filled_replay(5)).write()
    with pytest.raises(Unsuitable, match="has format 2 and this version reads 1"):
        ReplayStore(tmp_path).load(manifest | {"format": 2}, empty_replay())


def test_a_file_with_too_few_steps_is_damaged(tmp_path):
    manifest = ReplayStore(tmp_path).snapshot(filled_replay(5)).write()
    for file in manifest["files"]:
        path = tmp_path / file["name"]
        path.write_bytes(path.read_bytes()[-8:])
        file |= {"bytes": 8, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(Damaged, match="holds fewer steps"):
        ReplayStore(tmp_path).load(manifest, empty_replay())


def test_a_folder_that_was_moved_away_is_not_made_anew(tmp_path):
    (tmp_path / "run").mkdir()
    replay, store = filled_replay(5), ReplayStore(tmp_path / "run" / "replay")
    store.snapshot(replay).write()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    replay.add(random_steps(1, 5))
    with pytest.raises(FileNotFoundError):
        store.snapshot(replay).write()
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_last_save_good(small_disk):
    replay = filled_replay(500, num_streams=4, online=False)
    store = ReplayStore(small_disk / "steps", chunk_bytes=4000)
    good = store.snapshot(replay).write()
    rng = np.random.default_rng(0)
    sample = replay.sample(100)
    replay.refresh(sample, random_latents((100, 2), rng))
    files = set((small_disk / "steps").iterdir())
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 10_000))
    with pytest.raises(OSError, match="No space left"):
        store.snapshot(replay).write()
    assert set((small_disk / "steps").iterdir()) == files
    verify(small_disk / "steps", good)
    ballast.unlink()  # there is space again, and what had changed is still to be written
    later = store.snapshot(replay).write()
    loaded = empty_replay(num_streams=4, online=False)
    ReplayStore(small_disk / "steps").load(later, loaded)
    np.testing.assert_equal(loaded.sample(50), replay.sample(50))
    assert later != good


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    replay, store = filled_replay(95), ReplayStore(tmp_path, chunk_bytes=400)
    parts = pieces(store.snapshot(replay))
    while len(list(tmp_path.iterdir())) < 2:
        next(parts)
    parts.close()
    assert list(tmp_path.iterdir()) == []
    assert replay.ring.watcher is None
    assert len(store.snapshot(replay).write()["files"]) > 2


def test_a_vanished_folder_is_an_error_once_and_then_written_anew(tmp_path):
    replay, store = filled_replay(95), ReplayStore(tmp_path / "steps", chunk_bytes=400)
    store.snapshot(replay).write()
    shutil.rmtree(tmp_path / "steps")
    replay.add(random_steps(1, 95))
    with pytest.raises(FileNotFoundError, match="have vanished"):
        store.snapshot(replay).write()
    verify(tmp_path / "steps", store.snapshot(replay).write())


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "steps").touch()
    with pytest.raises(OSError, match="steps"):
        ReplayStore(tmp_path / "steps").snapshot(filled_replay(5)).write()


def test_prune_leaves_what_is_kept_and_what_is_not_the_stores(tmp_path):
    replay, store = filled_replay(95), ReplayStore(tmp_path, chunk_bytes=400)
    kept = store.snapshot(replay).write()
    replay.refresh(replay.sample(20), random_latents((20, 2), np.random.default_rng(0)))
    dropped = store.snapshot(replay).write()
    (tmp_path / ".mutable-000001-000009.npy.tmp").touch()  # of a process that was killed
    (tmp_path / "notes.txt").touch()
    store.prune([kept])
    expected = {file["name"] for file in kept["files"]} | {"notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    verify(tmp_path, kept)
    with pytest.raises(Damaged, match="No such file"):
        verify(tmp_path, dropped)
    # What was current is gone, and is written again.
    verify(tmp_path, store.snapshot(replay).write())


def test_prune_leaves_a_snapshot_that_is_being_written(tmp_path):
    replay, store = filled_replay(95), ReplayStore(tmp_path, chunk_bytes=400)
    store.snapshot(replay).write()
    replay.add(random_steps(1, 95))
    parts = pieces(store.snapshot(replay))
    manifest = None
    while manifest is None:
        try:
            next(parts)
            store.prune([])
        except StopIteration as end:
            manifest = end.value
    verify(tmp_path, manifest)
    store.prune([])
    assert list(tmp_path.iterdir()) == []


def test_mapped_arrays_that_do_not_fit_are_refused(small_disk):
    with pytest.raises(
        MachineError, match=r"Cannot reserve [\d.]+ KiB for the replay in .*No space"
    ):
        empty_replay(num_streams=100, capacity=10_000, folder=small_disk)
    assert list(small_disk.iterdir()) == []


def test_mapped_arrays_have_their_space_from_the_beginning(small_disk):
    """A disk that fills up later would kill the process at the first step without a block."""
    free = shutil.disk_usage(small_disk).free
    replay = empty_replay(num_streams=10, window=3, capacity=2500, folder=small_disk)
    assert shutil.disk_usage(small_disk).free <= free - replay.nbytes
    (small_disk / "ballast").write_bytes(b"0" * shutil.disk_usage(small_disk).free)
    for time in range(300):
        replay.add(random_steps(10, time))
    assert replay.sample(5).steps["time"].min() > 0
    del replay
    assert shutil.disk_usage(small_disk).free > 0.3 * free


def test_mapped_arrays_in_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"Cannot reserve .* in .*file/replay: Not a directory"):
        empty_replay(folder=tmp_path / "file" / "replay")
