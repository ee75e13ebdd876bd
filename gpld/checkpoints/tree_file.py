"""Nested dictionaries of arrays in one file that cannot run code."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes  # noqa: F401 (makes bfloat16 known to NumPy by name)
import numpy as np

_SKELETON = "tree"


def dump(tree: Mapping[str, Any]) -> bytes:
    """Serialise a tree as the bytes of an `.npz` file.

    Args:
        tree: Dictionaries with names as keys, and lists or tuples, of arrays, numbers, text
            and None. Tuples come back as lists and NumPy's scalars as Python's.
    """
    arrays: dict[str, np.ndarray] = {}

    def skeleton(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {"dict": {name: skeleton(item) for name, item in value.items()}}
        if isinstance(value, list | tuple):
            return {"list": [skeleton(item) for item in value]}
        if isinstance(value, np.generic):
            return value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        name = f"array{len(arrays)}"
        array = np.asarray(value)
        # NumPy's format does not know dtypes of other packages, such as bfloat16.
        arrays[name] = array.view(f"V{array.itemsize}") if array.dtype.kind == "V" else array
        return {"array": name, "dtype": array.dtype.name}

    text = json.dumps(skeleton(tree)).encode()
    buffer = io.BytesIO()
    arrays[_SKELETON] = np.frombuffer(text, np.uint8)
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load(path: Path | BinaryIO) -> dict[str, Any]:
    """Load a tree from a file.

    Args:
        path: The file, or what reads it from its beginning.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds something else.
    """
    try:
        with zipfile.ZipFile(path) as members:
            # What is not compressed takes no more memory than the file.
            if any(member.compress_type != zipfile.ZIP_STORED for member in members.infolist()):
                raise ValueError("its arrays are compressed")
            arrays = {
                member.filename.removesuffix(".npy"): _array(members, member)
                for member in members.infolist()
            }
        return _tree(json.loads(arrays[_SKELETON].tobytes()), arrays)
    except (LookupError, TypeError, RecursionError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"it holds no tree of arrays: {error}") from error


def _array(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with members.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _tree(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: _tree(item, arrays) for name, item in value["dict"].items()}
    if "list" in value:
        return [_tree(item, arrays) for item in value["list"]]
    return arrays[value["array"]].view(np.dtype(value["dtype"]))
