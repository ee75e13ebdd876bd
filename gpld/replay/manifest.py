"""What a checkpoint says of a saved replay, as JSON can hold it.

`format` is the version of all this, `chunk_length` the steps of a stream in a chunk,
`num_streams` their number, `arrays` dtype and shape of one step of each array by group and
name, `state` what `AbstractReplay.get_state` gave, and `files` what `ChunkFile` says of each.
"""

from collections.abc import Mapping
from typing import Any

from .chunk_file import ChunkFile
from .ring import Ring

Manifest = dict[str, Any]

FORMAT = 1


class UnsuitableReplayError(ValueError):
    """An intact saved replay that does not fit: it has another format, streams or arrays."""


def header(ring: Ring, chunk_length: int) -> Manifest:
    """What a manifest says of the replay's layout."""
    arrays = {
        group: {
            name: {"dtype": str(array.dtype), "shape": list(array.shape[2:])}
            for name, array in ring.arrays.items()
            if name in names
        }
        for group, names in ring.groups.items()
    }
    return {
        "format": FORMAT,
        "chunk_length": chunk_length,
        "num_streams": ring.num_streams,
        "arrays": arrays,
    }


def check(manifest: Mapping[str, Any], ring: Ring) -> None:
    """Whether what was saved fits into a replay.

    Raises:
        UnsuitableReplayError: If it does not; the message says where they differ first.
    """
    for name, expected in header(ring, manifest["chunk_length"]).items():
        if manifest[name] != expected:
            raise UnsuitableReplayError(
                f"The saved replay has another `{name}`: {manifest[name]} instead of {expected}."
            )


def files(manifest: Mapping[str, Any]) -> list[ChunkFile]:
    """The files of a saved replay."""
    return [ChunkFile(**file) for file in manifest["files"]]
