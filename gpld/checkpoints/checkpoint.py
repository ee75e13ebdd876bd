"""One checkpoint on disk: everything a run needs to go on as if it had never stopped.

A checkpoint is a folder:

    agent.eqx       networks, optimiser, slow value, return percentiles, update count
    loop.npz        clocks, metrics under way, environments, what the policy remembers
    manifest.json   the two files and those of the replay, with sizes and SHA-256 checksums, and
                    one of its own

One that is kept for its agent alone has no `loop.npz`, and one that was exported no optimiser.

It is written under another name and renamed when it is complete, so that a folder of this
name is either whole or damaged by something else, which the checksums show. Nothing in it can
run code when it is loaded.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax

from .. import replay
from ..agent import AgentState
from ..errors import Damaged, MachineError, Unsuitable, UsageError
from ..machine import checksums
from ..machine.files import damage, is_count, read_json, remove, sync_folder, write_json
from ..replay import has_other_format
from ..runs.folder import LOGS, clocks, is_checkpoint
from . import tree_file

FORMAT = 1


class Checkpoint(NamedTuple):
    """A checkpoint on disk."""

    path: Path
    manifest: dict[str, Any]

    @property
    def env_step(self) -> int:
        """Env steps collected when it was written."""
        return self.manifest["env_step"]

    @property
    def resumable(self) -> bool:
        """True if the run can go on from here; of old checkpoints only the agent is kept."""
        return self.manifest["replay"] is not None

    @property
    def has_optimizer(self) -> bool:
        """True if the agent comes with the moments of its optimiser."""
        return self.manifest.get("optimizer", True)


def write(path: Path, agent: AgentState, loop: bytes | None, manifest: Mapping[str, Any]) -> None:
    """Writes a checkpoint, which is complete or absent at any moment.

    Args:
        path: Its folder, which must not exist, in an existing folder.
        agent: The agent's state.
        loop: The rest, as `tree_file.dump` gives it; None if only the agent is kept.
        manifest: What the manifest says besides the checksums.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    temporary = _unfinished(path)
    remove(temporary)
    try:
        temporary.mkdir()
        parts: dict[str, Callable[[Any], Any]] = {
            "agent.eqx": lambda file: eqx.tree_serialise_leaves(file, agent)
        }
        if loop is not None:
            parts["loop.npz"] = lambda file: file.write(loop)
        with _true_errors():
            files = {
                name: checksums.write(temporary / name, part)._asdict()
                for name, part in parts.items()
            }
        _write_manifest(temporary, {"format": FORMAT, **manifest, "files": files})
        temporary.rename(path)
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_agent(path: Path, agent: AgentState, env_step: int) -> None:
    """Write a checkpoint from which an agent can act and be evaluated, but not be trained on.

    Args:
        path: Its folder, which must not exist, in an existing folder.
        agent: The agent's state, of which the optimiser's is left out: two thirds of the bytes.
        env_step: Env steps collected until then.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    manifest = {"env_step": env_step, "update": int(agent.update), "replay": None}
    write(path, without_optimizer(agent), None, {**manifest, "optimizer": False})


def without_optimizer(agent: AgentState) -> AgentState:
    """Return an agent's state with none of its optimiser."""
    return eqx.tree_at(lambda agent: agent.opt_state, agent, ())


def keep_agent(checkpoint: Checkpoint) -> None:
    """Reduce a checkpoint to its agent, so that its replay can be deleted."""
    files = {"agent.eqx": checkpoint.manifest["files"]["agent.eqx"]}
    _write_manifest(checkpoint.path, checkpoint.manifest | {"files": files, "replay": None})
    (checkpoint.path / "loop.npz").unlink(missing_ok=True)


def delete(path: Path) -> None:
    """Delete a checkpoint; it is renamed first, so that none is ever incomplete."""
    hidden = _unfinished(path)
    remove(hidden)
    path.rename(hidden)
    shutil.rmtree(hidden)


def delete_unfinished(folder: Path) -> None:
    """Delete what a killed process was writing or deleting.

    Raises:
        OSError: If it cannot be deleted.
    """
    for path in folder.glob(".*.tmp"):
        if is_checkpoint(path.name[1 : -len(".tmp")]):
            remove(path)


def read(path: Path) -> Checkpoint:
    """Read the manifest of a checkpoint; its files are verified when they are loaded.

    Raises:
        Damaged: If it has no manifest, or one that was changed or contradicts itself.
        Unsuitable: If it has another format.
        MachineError: If it cannot be read for another reason, such as too many open files.
    """
    file = path / "manifest.json"
    try:
        manifest = read_json(file)
    except (UsageError, MachineError) as error:
        if isinstance(error.__cause__, OSError):
            damage(file, error.__cause__)
        raise Damaged(f"{file} is missing or damaged ({str(error).rstrip('.')}).") from error
    stored = manifest.pop("sha256", None)  # which older ones have not
    whole = stored == checksums.of_json(manifest)
    if has_other_format(manifest, FORMAT, whole):
        raise Unsuitable(
            f"{path} has format {manifest['format']} and this version of gpld reads {FORMAT}."
        )
    if stored is not None and not whole:
        raise Damaged(f"{file} does not match its checksum.")
    if fault := next(_faults(path, manifest, whole), None):
        raise Damaged(f"{file} is missing or damaged ({fault}).")
    return Checkpoint(path, manifest)


def load_agent(checkpoint: Checkpoint, like: AgentState) -> AgentState:
    """Load the agent's state.

    Args:
        checkpoint: The checkpoint.
        like: A state of the same structure, or its shapes from `eqx.filter_eval_shape`; with an
            optimiser, whether there is one in the checkpoint or not.

    Raises:
        Damaged: If the file is not what was written.
        Unsuitable: If it is, but holds other shapes, dtypes or another structure.
        MachineError: If it cannot be read, or there is too little memory for it.
    """
    path = checkpoint.path / "agent.eqx"
    if not checkpoint.has_optimizer:
        like = without_optimizer(like)
    with checksums.verified(path, **checkpoint.manifest["files"][path.name]) as file:
        try:
            with _true_errors():
                agent = eqx.tree_deserialise_leaves(file, like)
            left = len(file.read(1))
        except MemoryError as error:
            raise MachineError(
                f"There is too little memory to load {path}. Nothing was changed."
            ) from error
        except (RuntimeError, ValueError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else "it ends too early"
            raise Unsuitable(f"{path} does not hold this agent: {reason.rstrip('.')}.") from error
    if left:
        raise Unsuitable(f"{path} does not hold this agent: it holds more arrays.")
    if isinstance(agent.update, jax.Array) and int(agent.update) != checkpoint.manifest["update"]:
        raise Damaged(f"{path} is of another update than its manifest says.")
    return agent


def load_loop(checkpoint: Checkpoint) -> dict[str, Any]:
    """Load the state of the training loop: all but agent and replay.

    Raises:
        Damaged: If the file is not what was written, or the checkpoint was reduced to its agent.
        Unsuitable: If it is, but cannot be understood.
        MachineError: If it cannot be read.
    """
    path = checkpoint.path / "loop.npz"
    if path.name not in checkpoint.manifest["files"]:
        raise Damaged(f"{checkpoint.path} no longer has its {path.name}.")
    with checksums.verified(path, **checkpoint.manifest["files"][path.name]) as file:
        try:
            return tree_file.load(file)
        except ValueError as error:
            raise Unsuitable(f"{path} cannot be understood: {error}.") from error


def load(path: Path, like: AgentState) -> AgentState:
    """Load the agent's state from the checkpoint in a folder.

    Raises:
        Damaged: If it is not what was written.
        Unsuitable: If it has another format or holds another agent.
        MachineError: If it cannot be read, or there is too little memory for it.
    """
    return load_agent(read(path), like)


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_json(folder / "manifest.json", {**manifest, "sha256": checksums.of_json(manifest)})


def _unfinished(path: Path) -> Path:
    """Return the temporary folder in which a checkpoint is written or deleted."""
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def _true_errors() -> Iterator[None]:
    """Re-raise the machine's own errors, without Equinox's note about the place in the tree."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError | MemoryError):
            cause = cause.__cause__
        raise cause or error from None


def _faults(path: Path, manifest: Mapping[str, Any], whole: bool) -> Iterator[str]:
    """Yield the faults of a manifest; later ones may only follow from the first.

    This is all there is against flipped bits in older manifests, which have no checksum.
    """
    needed = {"format", "env_step", "update", "replay", "files"}
    names = manifest.keys()
    more = {"keep_agent", "logs", "optimizer", "stopwatch", "settings"}
    if not needed <= names or not names <= needed | more:
        yield f"it says {sorted(names)}"
    if manifest["format"] != FORMAT:
        yield f"its format is {manifest['format']!r}"
    if not all(is_count(manifest[name]) for name in ("env_step", "update")):
        yield "a clock is no number"
    if is_checkpoint(path.name) and clocks(path)[0] != manifest["env_step"]:
        yield f"it is of env step {manifest['env_step']}"
    files = manifest["files"]
    if not isinstance(files, dict) or not {"agent.eqx"} <= files.keys() <= {
        "agent.eqx",
        "loop.npz",
    }:
        yield "it names other files"
    if not all(_is_file(file) for file in files.values()):
        yield "it does not describe its files"
    if type(manifest.get("optimizer", True)) is not bool:
        yield "it does not say whether it has an optimiser"
    if manifest["replay"] is not None:
        if not manifest.get("optimizer", True):
            yield "it has a replay, but no optimiser"
        logs: Any = manifest.get("logs")
        if "loop.npz" not in files or type(manifest.get("keep_agent")) is not bool:
            yield "it says too little to go on from"
        if not isinstance(logs, dict) or not all(is_count(size) for size in logs.values()):
            yield "it does not say how long the logs are"
        if any(_differ_in_one(name, log) for name in logs for log in LOGS):
            yield f"it names the logs {sorted(logs)}"
        # Older ones did not save it.
        if "stopwatch" in manifest and not _is_stopwatch(manifest["stopwatch"]):
            yield "its stopwatch is none"
        if not isinstance(manifest.get("settings", {}), dict):
            yield "its settings are none"
        yield from replay.faults(manifest["replay"], str(path), whole=whole)


def _differ_in_one(a: str, b: str) -> bool:
    return len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1


def _is_stopwatch(state: Any) -> bool:
    if not isinstance(state, dict) or not isinstance(seconds := state.get("seconds"), dict):
        return False
    return all(type(x) in (int, float) for x in (state.get("elapsed"), *seconds.values()))


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and file.keys() == {"size", "sha256"}
        and is_count(file["size"])
        and isinstance(file["sha256"], str)
    )
