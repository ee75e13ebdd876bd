"""Manifests: the description of a saved replay in a checkpoint, as JSON can hold it.

`format` is the version of all this, `chunk_length` the steps of a stream in a chunk,
`num_streams` their number, `arrays` dtype and shape of one step of each array by group and
name, `state` what `AbstractReplay.get_state` gave, and `files` what `ChunkFile` says of each.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from ..errors import Unsuitable
from ..machine.files import is_count
from .chunk_file import ChunkFile
from .ring import Group, Ring

Manifest = dict[str, Any]

FORMAT = 1


def header(ring: Ring, chunk_length: int) -> Manifest:
    """Return a manifest's description of the replay's layout."""
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
    """Check that a saved replay fits into this one; it may lack the arrays that can change.

    Raises:
        Unsuitable: If it does not; the message says where they differ first.
    """
    for name, expected in header(ring, manifest["chunk_length"]).items():
        if name == "arrays" and not manifest[name]["mutable"]:
            expected = expected | {"mutable": {}}
        if manifest[name] != expected:
            raise Unsuitable(
                f"The saved replay has another `{name}`: {manifest[name]} instead of {expected}."
            )


def has_other_format(manifest: Mapping[str, Any], known: int, whole: bool) -> bool:
    """Return whether another version has written a manifest, rather than a flipped bit.

    Later formats must differ from this one in two bits or more, as 2 does from 1.

    Args:
        manifest: That of a checkpoint or of a replay.
        known: The format that this version reads.
        whole: Whether a checksum says that nothing was flipped.
    """
    number = manifest.get("format")
    if type(number) is not int or number == known:
        return False
    return whole or (number ^ known).bit_count() > 1


def files(manifest: Mapping[str, Any]) -> list[ChunkFile]:
    """Return the files of a saved replay."""
    return [ChunkFile(**file) for file in manifest["files"]]


def faults(manifest: Any, where: str, *, whole: bool = False) -> Iterator[str]:
    """Yield the faults of a manifest; those after the first may only follow from it.

    It must say all that it has to, and its files must hold every step.

    Args:
        manifest: What a checkpoint holds in its place.
        where: What messages call the saved replay.
        whole: Whether a checksum says that it is what was written.

    Raises:
        Unsuitable: If it has another format.
    """
    if not isinstance(manifest, dict):
        yield "the replay's manifest is no object"
    if has_other_format(manifest, FORMAT, whole):
        raise Unsuitable(
            f"{where}: the replay has format {manifest['format']} and this version reads {FORMAT}."
        )
    names = {"format", "chunk_length", "num_streams", "arrays", "state", "files"}
    if manifest.keys() != names:
        yield f"it says {sorted(manifest)} instead of {sorted(names)}"
    if manifest["format"] != FORMAT:
        yield f"its format is {manifest['format']!r}"
    arrays, state, files = manifest["arrays"], manifest["state"], manifest["files"]
    if not isinstance(arrays, dict) or set(arrays) != set(get_args(Group)):
        yield "`arrays` does not name the groups"
    if not all(isinstance(group, dict) for group in arrays.values()):
        yield "`arrays` does not name arrays"
    if not isinstance(state, dict) or not {"num_added", "oldest"} <= state.keys():
        yield "`state` does not say what was added"
    counts = (manifest["chunk_length"], manifest["num_streams"], state["num_added"])
    if not all(is_count(number) for number in (*counts, state["oldest"])) or 0 in counts[:2]:
        yield "a number of steps or streams is no such number"
    if state["oldest"] > state["num_added"]:
        yield "`oldest` is beyond `num_added`"
    if not isinstance(files, list) or not all(_is_file(file) for file in files):
        yield "`files` does not describe files"
    yield from _gaps(manifest)


def _gaps(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files that do not hold exactly the steps that they must."""
    length, state = manifest["chunk_length"], manifest["state"]
    oldest, num_added = state["oldest"], state["num_added"]
    chunks = range(oldest // length, -(-num_added // length))
    groups = [group for group, arrays in manifest["arrays"].items() if arrays]
    found = files(manifest)
    # Of as many different ones as there are chunks, all within them, none is missing.
    if len({(file.group, file.chunk) for file in found}) != len(chunks) * len(groups) or any(
        file.group not in groups or file.chunk not in chunks for file in found
    ):
        yield f"it names {len(found)} files for {len(chunks)} chunks in {len(groups)} groups"
    if len(found) > len(chunks) * len(groups):
        yield "it names a chunk twice"
    for file in found:
        # What has become too old since a file was written is still in it.
        begin, end = file.chunk * length, min(num_added, (file.chunk + 1) * length)
        if not begin <= file.first_step <= max(oldest, begin) or file.stop != end:
            yield f"{file.name} holds the steps {file.first_step} to {file.stop - 1}"


def _is_file(file: Any) -> bool:
    if not isinstance(file, dict) or file.keys() != set(ChunkFile._fields):
        return False
    numbers = (file["bytes"], file["chunk"], file["first_step"], file["num_steps"])
    return (
        file["group"] in get_args(Group)
        and all(isinstance(file[name], str) for name in ("name", "sha256"))
        and all(is_count(number) for number in numbers)
        and re.fullmatch(rf"{file['group']}-{file['chunk']:06d}-\d{{6,}}\.npy", file["name"])
        is not None
        and file["num_steps"] > 0
    )
