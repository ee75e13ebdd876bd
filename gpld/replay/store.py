"""Saved replays: chunks of steps in files that are written once, and manifests of them.

A chunk holds the steps `[k * length, (k + 1) * length)` of all streams, counted from their
beginning, so that any replay can load it, however long it is and wherever it lives. Arrays
that never change lie in other files than those that do: theirs are written for good once
the chunk is full, the others when something in them has changed. No file is ever written
again: a new version has a new name, and older manifests stay good.
"""

import functools
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Damaged
from ..machine.files import try_all
from . import chunk_file, manifest as manifests
from .abstract_replay import AbstractReplay
from .chunk_file import ChunkFile
from .frozen_chunk import FrozenChunk, chunk_dtype
from .manifest import Manifest
from .ring import Group, Ring
from .snapshot import PendingFile, Snapshot

_FILE = re.compile(r"\.?((?:immutable|mutable)-\d{6,}-(\d{6,})\.npy)(?:\.tmp)?")


class ReplayStore:
    """Files of saved replays: writes them beside the training, and loads them.

    One thread adds, refreshes and makes snapshots; another may write and prune. No other
    process may use the folder meanwhile.
    """

    def __init__(self, folder: Path, *, chunk_bytes: int = 24 * 2**20):
        """Open a store; nothing is written or read yet.

        Args:
            folder: Where its files are.
            chunk_bytes: About how large the larger files become, unless a replay is loaded:
                its chunks stay as they are.
        """
        self._folder, self._chunk_bytes = folder, chunk_bytes
        self._lock = threading.Lock()
        self._ring: Ring | None = None
        self._chunk_length: int | None = None
        self._current: dict[tuple[Group, int], ChunkFile] = {}
        # Changes that the replay had seen when what is current was fixed.
        self._changes = 0
        self._snapshot: Snapshot | None = None
        self._serial = max((serial for _, _, serial in self._files()), default=-1) + 1

    def snapshot(self, replay: AbstractReplay) -> Snapshot:
        """Fix the contents of a replay as they are now, which takes milliseconds.

        The replay goes on at once, whichever thread writes the snapshot and whenever. One
        that was made before and that nobody has begun to write is discarded.

        Raises:
            RuntimeError: If one is being written.
        """
        ring = replay.ring
        if self._snapshot is not None and not self._snapshot.begun:
            self._snapshot.discard()
        if ring.watcher is not None:
            raise RuntimeError("A snapshot of this replay is being written.")
        with self._lock:
            if ring is not self._ring:
                self._ring, self._current = ring, {}
            if self._chunk_length is None:
                self._chunk_length = _chunk_length(ring, self._chunk_bytes)
            current, pending = [], []
            for group, chunk, first, stop in _chunks(ring, self._chunk_length):
                file = self._current.get((group, chunk))
                if file is not None and self._holds(file, ring, first, stop):
                    current.append(file)
                else:
                    name = f"{group}-{chunk:06d}-{self._serial:06d}.npy"
                    names = ring.groups[group]
                    steps = FrozenChunk(ring.on_host(names, first, stop), names, first, stop)
                    pending.append(PendingFile(name, group, chunk, steps))
            self._serial += 1
            changes = ring.num_changes
            self._snapshot = Snapshot(
                self._folder,
                ring,
                manifests.header(ring, self._chunk_length) | {"state": replay.get_state()},
                current=current,
                pending=pending,
                done=lambda files: self._done(files, changes),
            )
            return self._snapshot

    def load(self, manifest: Mapping[str, Any], replay: AbstractReplay) -> None:
        """Fill an empty replay with what was saved.

        Afterwards it goes on as the saved one would have: it draws the same windows next.
        If it is shorter, the oldest steps are left out. Arrays that can change stay as they are
        where the saved replay has none.

        Args:
            manifest: What `Snapshot.write` has returned.
            replay: A replay of the same streams and arrays, to which nothing was added.

        Raises:
            ValueError: If the replay is not empty.
            Unsuitable: If it has other streams or arrays than the saved one.
            Damaged: If the manifest or a file is damaged, or a file is missing; the
                replay stays empty.
        """
        ring = replay.ring
        if ring.num_added > 0:
            raise ValueError("`replay` must be empty.")
        if fault := next(manifests.faults(manifest, str(self._folder)), None):
            raise Damaged(f"The replay's manifest is damaged: {fault}.")
        manifests.check(manifest, ring)
        stop = manifest["state"]["num_added"]
        first = max(manifest["state"]["oldest"], stop - ring.length)
        files = [file for file in manifests.files(manifest) if file.stop > first]
        for file in files:
            contents = chunk_file.read(self._folder, file)
            names = ring.groups[file.group]
            dtype = chunk_dtype(ring, names, file.num_steps)
            if len(contents) < dtype.itemsize:
                raise Damaged(f"{self._folder / file.name} holds fewer steps.")
            # The header says nothing that the manifest does not; the data are at the end.
            chunk = np.frombuffer(contents, dtype, offset=len(contents) - dtype.itemsize)
            for name in names:
                skipped = max(0, first - file.first_step)
                ring.fill(name, file.first_step + skipped, chunk[name][0, :, skipped:])
        try:
            replay.set_state(manifest["state"])
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Damaged(f"The replay's `state` is damaged: {error}.") from error
        with self._lock:
            self._ring, self._changes = ring, ring.num_changes
            self._chunk_length = manifest["chunk_length"]
            self._current = {(file.group, file.chunk): file for file in files}

    def prune(self, keep: Iterable[Manifest]) -> None:
        """Remove the files that no manifest in `keep` refers to, and unfinished ones.

        A snapshot that is being written keeps its files.

        Raises:
            OSError: If a file cannot be removed; all others are.
        """
        names = {file.name for manifest in keep for file in manifests.files(manifest)}
        with self._lock:
            if self._snapshot is not None:
                names |= self._snapshot.names
            self._current = {k: file for k, file in self._current.items() if file.name in names}
            useless = [path for path, name, _ in self._files() if name not in names]
        try_all(functools.partial(path.unlink, missing_ok=True) for path in useless)

    def _holds(self, file: ChunkFile, ring: Ring, first: int, stop: int) -> bool:
        """Return whether a file holds all these steps as they are now."""
        if file.first_step > first or file.stop < stop:
            return False
        return file.group == "immutable" or ring.last_change(first, stop) <= self._changes

    def _done(self, files: list[ChunkFile] | None, changes: int) -> None:
        """Note the files that hold a snapshot; None if it could not be written."""
        with self._lock:
            if files is None:  # what is current may have vanished
                there = {path.name for path, _, _ in self._files()}
                self._current = {k: file for k, file in self._current.items() if file.name in there}
            else:
                self._current = {(file.group, file.chunk): file for file in files}
                self._changes = changes

    def _files(self) -> Iterator[tuple[Path, str, int]]:
        """Yield all files of the store: path, name once complete, and serial number."""
        for path in self._folder.iterdir() if self._folder.exists() else ():
            if match := _FILE.fullmatch(path.name):
                yield path, match[1], int(match[2])


def _chunk_length(ring: Ring, chunk_bytes: int) -> int:
    """Return the steps of a chunk, so that its larger file has about so many bytes."""
    step_bytes = max(chunk_dtype(ring, names, 1).itemsize for names in ring.groups.values())
    return max(1, chunk_bytes // step_bytes)


def _chunks(ring: Ring, chunk_length: int) -> Iterator[tuple[Group, int, int, int]]:
    """Yield group, number, first step and the one after the last of all chunks with steps."""
    for group, names in ring.groups.items():
        if names:
            for chunk in range(ring.oldest // chunk_length, -(-ring.num_added // chunk_length)):
                first = chunk * chunk_length
                stop = min(ring.num_added, first + chunk_length)
                yield group, chunk, max(ring.oldest, first), stop
