"""Contents of a replay at one moment, written to files while it goes on."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..machine.files import sync_folder
from . import chunk_file
from .chunk_file import ChunkFile
from .frozen_chunk import FrozenChunk
from .manifest import Manifest
from .ring import Group, Ring


class PendingFile(NamedTuple):
    """A chunk that is to be written."""

    name: str
    group: Group
    chunk: int
    steps: FrozenChunk


class Snapshot:
    """The contents of a replay when `ReplayStore.snapshot` was called.

    Until it is written or discarded, the old values of what is overwritten are kept, as far
    as they are still to be written.

    Attributes:
        begun: Whether writing has begun.
    """

    def __init__(
        self,
        folder: Path,
        ring: Ring,
        header: Manifest,
        *,
        current: Sequence[ChunkFile],
        pending: Sequence[PendingFile],
        done: Callable[[list[ChunkFile] | None], None],
    ):
        """Begin to watch what is overwritten.

        Args:
            folder: Where the files are.
            ring: The steps.
            header: The manifest, but for the files.
            current: Files that hold the chunks that are not pending.
            pending: What is to be written.
            done: Is told of all files once they are there, or None if that has failed.
        """
        self._folder, self._ring, self._header = folder, ring, header
        self._current, self._pending, self._done = current, pending, done
        self._chunks = {(file.group, file.chunk): file.steps for file in pending}
        self.begun, self._open = False, True
        ring.watcher = self._keep

    @property
    def names(self) -> set[str]:
        """Files that it needs until it is written or discarded."""
        return {file.name for file in (*self._current, *self._pending) if self._open}

    def write(self, between: Callable[[], None] = lambda: None) -> Manifest:
        """Write what has changed since the last snapshot, in whichever thread.

        Args:
            between: Is called after each array and each file, where the replay may go on.

        Returns:
            The manifest, with which `ReplayStore.load` finds everything again.

        Raises:
            OSError: If a file cannot be written, or older ones have vanished. What was
                written is removed, and the next snapshot does it again.
            RuntimeError: If it was written or discarded before.
        """
        if not self._open:
            raise RuntimeError("The snapshot was written or discarded before.")
        self.begun = True
        files: list[ChunkFile] = []
        try:
            self._folder.mkdir(exist_ok=True)  # without parents: a run may have been moved away
            for pending in self._pending:
                files.append(self._write(pending, between))
                between()
            sync_folder(self._folder)
            self._check_current()
            files.extend(self._current)
            self._done(files)
        except BaseException:
            for pending in self._pending:
                (self._folder / pending.name).unlink(missing_ok=True)
            self._done(None)
            raise
        finally:
            self.discard()
        return self._header | {"files": [file._asdict() for file in files]}

    def discard(self) -> None:
        """Stop keeping old values; calling it again does nothing."""
        if self._open:
            self._open = False
            self._ring.watcher = None
            self._chunks = {}

    def _write(self, pending: PendingFile, between: Callable[[], None]) -> ChunkFile:
        contents = pending.steps.read(between)
        size, sha256 = chunk_file.write(self._folder / pending.name, contents)
        first, num_steps = pending.steps.first, pending.steps.stop - pending.steps.first
        return ChunkFile(pending.name, size, sha256, pending.group, pending.chunk, first, num_steps)

    def _check_current(self) -> None:
        """Check that nobody has removed what was written earlier."""
        missing = {file.name for file in self._current} - set(os.listdir(self._folder))
        if missing:
            path = self._folder / min(missing)
            raise FileNotFoundError(errno.ENOENT, "Files of the replay have vanished", str(path))

    def _keep(self, group: Group, streams: slice, first: int, stop: int) -> None:
        length = self._header["chunk_length"]
        for chunk in range(first // length, (stop - 1) // length + 1):
            if steps := self._chunks.get((group, chunk)):
                steps.keep(streams, first, stop)
