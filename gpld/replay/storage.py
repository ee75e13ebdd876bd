"""Arrays of a replay, in memory or in files that are mapped into memory."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from ..errors import MachineError
from ..units import byte_size


class StepSpec(NamedTuple):
    """Shape and dtype of one stored array, for one step of one stream."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of one step."""
        return int(np.prod(self.shape, dtype=int)) * np.dtype(self.dtype).itemsize


def allocate(
    specs: Mapping[str, StepSpec], *, num_streams: int, length: int, folder: Path | None
) -> dict[str, Shaped[np.ndarray, "stream length ..."]]:
    """Allocate arrays for `length` steps of every stream.

    Args:
        specs: Arrays by name, for one step of one stream.
        num_streams: Number of streams.
        length: Steps of each stream.
        folder: None for memory, which the system takes when it is first written to. A
            folder for files there, which have their whole space from the beginning: were
            the disk to fill up later, the system would kill the process. They have no
            names, and are gone with the process, however it ends.

    Raises:
        MachineError: If the folder has not enough space, or cannot be written.
    """
    shapes = {name: (num_streams, length, *spec.shape) for name, spec in specs.items()}
    if folder is None:
        return {name: np.empty(shapes[name], spec.dtype) for name, spec in specs.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {name: _mapped(folder, shapes[name], spec.dtype) for name, spec in specs.items()}
    except OSError as error:
        needed = num_streams * length * sum(spec.nbytes for spec in specs.values())
        raise MachineError(
            f"Cannot reserve {byte_size(needed)} for the replay in {folder}: {error.strerror}."
        ) from error


def _mapped(
    folder: Path, shape: tuple[int, ...], dtype: np.dtype
) -> Shaped[np.ndarray, "stream length ..."]:
    size = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # macOS
            file.truncate(size)
        # A plain view: it keeps the mapping, and indexing np.memmap itself is slower.
        return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
