"""Files of steps: plain `.npy`, complete or absent, with checksums kept elsewhere."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from ..machine import checksums
from ..machine.checksums import Checksum
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


def write(path: Path, contents: Shaped[np.ndarray, ""]) -> Checksum:
    """Write a new file.

    Args:
        path: The file.
        contents: One structured number (`FrozenChunk.read`).

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """

    def write_to(file):
        np.lib.format.write_array_header_1_0(file, header)
        # A view of the memory, which is hashed and written while Python goes on elsewhere.
        file.write(contents.reshape(1).view(np.uint8).data)

    header = np.lib.format.header_data_from_array_1_0(contents)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        checksum = checksums.write(temporary, write_to)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return checksum


def read(folder: Path, file: ChunkFile) -> bytes:
    """Return the bytes of a file, after checking that they are what was written.

    Raises:
        Damaged: If they are not.
        MachineError: If they cannot be read for another reason, such as too many open files.
    """
    path = folder / Path(file.name).name
    with checksums.verified(path, file.bytes, file.sha256) as opened:
        return opened.read()
