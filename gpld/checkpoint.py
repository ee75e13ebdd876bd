"""Saving and loading the agent's state."""

import os
from pathlib import Path

import equinox as eqx

from .agent import AgentState
from .errors import MachineError


def save(path: Path, state: AgentState) -> None:
    """Writes the state to a file, which is complete or absent at any moment.

    Raises:
        MachineError: If the file cannot be written; an older one stays as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            eqx.tree_serialise_leaves(file, state)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise MachineError(f"Cannot write the checkpoint {path}: {error.strerror}.") from error


def load(path: Path, like: AgentState) -> AgentState:
    """Reads a state that `save` wrote. The file holds plain arrays and cannot run code.

    Args:
        path: File to read.
        like: A state of the same structure, or its shapes from `eqx.filter_eval_shape`.

    Raises:
        MachineError: If the file cannot be read, or holds another structure.
    """
    try:
        return eqx.tree_deserialise_leaves(path, like)
    except OSError as error:
        raise MachineError(f"Cannot read the checkpoint {path}: {error.strerror}.") from error
    except (RuntimeError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise MachineError(f"The checkpoint {path} is damaged: {reason}") from error
