"""Checkpoints: everything that a run needs to go on as if it had never stopped.

A checkpoint is a folder:

    agent.eqx       networks, optimiser, slow value, return percentiles, update count
    loop.npz        clocks, metrics under way, environments, what the policy remembers
    manifest.json   the two files and those of the replay, with sizes and SHA-256 checksums

It is written under another name and renamed when it is complete, so that a folder of this
name is either whole or damaged by something else, which the checksums show. Nothing in it can
run code when it is loaded.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import equinox as eqx

from . import tree_file
from .agent import AgentState
from .errors import MachineError, UsageError
from .files import sync_folder

FORMAT = 1


class Damaged(Exception):
    """A file of a checkpoint is missing or not what was written."""


class Unsuitable(Exception):
    """An intact checkpoint that this process cannot use.

    It has another format, or its agent has other shapes or dtypes: another version of `gpld`, other
    settings or another setting of JAX has written it. It must stay as it is.
    """


class Checkpoint(NamedTuple):
    """A checkpoint on disk."""

    path: Path
    manifest: dict[str, Any]

    @property
    def env_step(self) -> int:
        """Env steps after which it was written."""
        return self.manifest["env_step"]

    @property
    def resumable(self) -> bool:
        """Whether the run can go on from here; of old checkpoints only the agent is kept."""
        return self.manifest["replay"] is not None


def write(path: Path, agent: AgentState, loop: bytes, manifest: Mapping[str, Any]) -> None:
    """Writes a checkpoint, which is complete or absent at any moment.

    Args:
        path: Its folder, which must not exist, in an existing folder.
        agent: The agent's state.
        loop: The rest, as `tree_file.dump` gives it.
        manifest: What the manifest says besides the checksums of both.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        files = {
            "agent.eqx": _write_file(
                temporary / "agent.eqx", lambda file: eqx.tree_serialise_leaves(file, agent)
            ),
            "loop.npz": _write_file(temporary / "loop.npz", lambda file: file.write(loop)),
        }
        _write_manifest(temporary, {"format": FORMAT, **manifest, "files": files})
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def keep_agent(checkpoint: Checkpoint) -> None:
    """Leaves of a checkpoint only the agent, so that its replay can be deleted."""
    files = {"agent.eqx": checkpoint.manifest["files"]["agent.eqx"]}
    _write_manifest(checkpoint.path, checkpoint.manifest | {"files": files, "replay": None})
    (checkpoint.path / "loop.npz").unlink(missing_ok=True)


def delete(checkpoint: Checkpoint) -> None:
    """Deletes a checkpoint, which is gone before it is incomplete."""
    hidden = checkpoint.path.with_name(f".{checkpoint.path.name}.tmp")
    checkpoint.path.rename(hidden)
    shutil.rmtree(hidden)


def read(path: Path) -> Checkpoint:
    """Opens a checkpoint; its files are looked at when they are loaded.

    Raises:
        Damaged: If it has no manifest, or one that cannot be understood.
        Unsuitable: If it has another format.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise Unsuitable(
                f"{path} has format {manifest['format']} and this version of gpld reads {FORMAT}"
            )
        checkpoint = Checkpoint(path, manifest)
        _ = checkpoint.env_step, checkpoint.resumable, manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path / 'manifest.json'} is missing or damaged") from error
    return checkpoint


def load_agent(checkpoint: Checkpoint, like: AgentState) -> AgentState:
    """The agent's state.

    Args:
        checkpoint: The checkpoint.
        like: A state of the same structure, or its shapes from `eqx.filter_eval_shape`.

    Raises:
        Damaged: If the file is not what was written.
        Unsuitable: If it is, but holds other shapes, dtypes or another structure.
    """
    path = _verified(checkpoint, "agent.eqx")
    try:
        with path.open("rb") as file:
            agent = eqx.tree_deserialise_leaves(file, like)
            left = len(file.read(1))
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from error
    except (RuntimeError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise Unsuitable(f"{path} does not hold this agent: {reason}") from error
    if left:
        raise Unsuitable(f"{path} does not hold this agent: it holds more arrays")
    return agent


def load_loop(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything else.

    Raises:
        Damaged: If the file is not what was written.
    """
    path = _verified(checkpoint, "loop.npz")
    try:
        return tree_file.load(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Damaged(f"{path} is damaged: {error}") from error


def load(path: Path, like: AgentState) -> AgentState:
    """The agent's state in the checkpoint of this folder.

    Raises:
        MachineError: If it is damaged.
        UsageError: If it has another format or holds another agent.
    """
    try:
        return load_agent(read(path), like)
    except Damaged as error:
        raise MachineError(f"The checkpoint cannot be used: {error}.") from error
    except Unsuitable as error:
        raise UsageError(f"The checkpoint cannot be used here: {error}.") from error


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


def _write_file(path: Path, write: Any) -> dict[str, Any]:
    with path.open("wb") as file:
        hashed = _HashedFile(file)
        write(hashed)
        file.flush()
        os.fsync(file.fileno())
    return {"size": hashed.size, "sha256": hashed.hash.hexdigest()}


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    temporary = folder / ".manifest.json.tmp"
    with temporary.open("w") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / "manifest.json")


def _verified(checkpoint: Checkpoint, name: str) -> Path:
    path, expected = checkpoint.path / name, checkpoint.manifest["files"].get(name)
    if expected is None:
        raise Damaged(f"{checkpoint.path} no longer has its {name}")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected["size"]:
                raise Damaged(f"{path} has {size} of {expected['size']} bytes")
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                raise Damaged(f"{path} does not match its checksum")
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from error
    return path
