"""Files of steps: plain `.npy`, complete or absent, with checksums kept elsewhere."""

import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from ..errors import Damaged
from ..machine import files
from .ring import Group


class ChunkFile(NamedTuple):
    """Entry of one file in a manifest."""

    name: str
    bytes: int
    sha256: str
    group: Group
    chunk: int
    first_step: int
    num_steps: int

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.first_step + self.num_steps


def write(path: Path, contents: Shaped[np.ndarray, ""]) -> tuple[int, str]:
    """Write a new file.

    Args:
        path: The file.
        contents: One structured number (`FrozenChunk.read`).

    Returns:
        Its bytes and its SHA-256.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    temporary = temporary_path(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(contents))
    # Views of the memory, which are hashed and written while Python goes on elsewhere.
    parts = (header.getbuffer(), contents.reshape(1).view(np.uint8).data)
    digest = hashlib.sha256()
    try:
        with files.create(temporary) as file:
            for part in parts:
                digest.update(part)
                file.write(part)
            files.sync(file)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return sum(part.nbytes for part in parts), digest.hexdigest()


def read(folder: Path, file: ChunkFile) -> bytes:
    """Return the bytes of a file, after checking that they are what was written.

    Raises:
        Damaged: If they are not.
        MachineError: If they cannot be read for another reason, such as too many open files.
    """
    path = folder / Path(file.name).name
    try:
        with files.open_to_read(path) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size != file.bytes:
                raise Damaged(
                    f"{path} is damaged: it has {size:,} bytes instead of {file.bytes:,}."
                )
            contents = opened.read()
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing.") from error
    except OSError as error:
        raise Damaged(f"{files.damage(path, error)}.") from error
    if hashlib.sha256(contents).hexdigest() != file.sha256:
        raise Damaged(f"{path} is damaged: its checksum is not the one recorded.")
    return contents


def parse(contents: bytes, dtype: np.dtype) -> Shaped[np.ndarray, ""]:
    """Return what `write` was given, from the file's bytes."""
    # The header says nothing that the manifest does not; the data are at the end.
    return np.frombuffer(contents, dtype, offset=len(contents) - dtype.itemsize).reshape(())


def temporary_path(path: Path) -> Path:
    """Return the path of a file before it is complete."""
    return path.with_name(f".{path.name}.tmp")
