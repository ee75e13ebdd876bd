"""Files with a checksum that is kept elsewhere."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import Damaged
from . import files


class Checksum(NamedTuple):
    """Size of a file in bytes, and its SHA-256."""

    size: int
    sha256: str


class _HashedFile:
    """Writes to a file and takes its checksum on the way."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.size += memoryview(data).nbytes
        return self._file.write(data)


def of_json(values: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of what JSON holds, whatever its layout."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, contents: Callable[[Any], Any]) -> Checksum:
    """Write a new file, which outlasts a loss of power.

    Args:
        path: The file.
        contents: Is called with something that has the method `write` of a file, and no other.

    Raises:
        OSError: If it cannot be written.
    """
    with files.create(path) as file:
        hashed = _HashedFile(file)
        contents(hashed)
        files.sync(file)
    return Checksum(hashed.size, hashed.hash.hexdigest())


@contextlib.contextmanager
def verified(path: Path, size: int, sha256: str) -> Iterator[BufferedReader]:
    """Open a file that must have this checksum.

    It is read twice, here and by whoever uses it: that of an agent may be too large to hold beside
    the agent.

    Args:
        path: The file.
        size: Its bytes.
        sha256: Its SHA-256, in hexadecimal digits.

    Raises:
        Damaged: If it has another one, or is missing, or turns out to be unreadable later.
        MachineError: If it cannot be read for another reason, such as too many open files.
    """
    try:
        with files.open_to_read(path) as file:
            there = os.fstat(file.fileno()).st_size
            if there != size:
                raise Damaged(f"{path} has {there} of {size} bytes.")
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise Damaged(f"{path} does not match its checksum.")
            file.seek(0)
            yield file
    except OSError as error:
        raise Damaged(f"{files.damage(path, error)}.") from error
