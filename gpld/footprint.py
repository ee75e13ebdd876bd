"""How much memory a run will take, and whether the machine has it."""

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from .agent import AgentState
from .config import Config
from .envs import EnvSpec
from .experience import latent_bytes, replay_size, step_bytes
from .memory import available_memory, check_replay_fits, device_memory
from .replay import stream_length


class Footprint(NamedTuple):
    """Bytes that a run will take."""

    replay: int
    """The replay once it is full."""

    agent: int
    """Networks, optimiser and gradients, in memory."""

    checkpoints: int
    """Checkpoints on disk, without the agents of old ones: what is observed is there once,
    the latent states, nearly all of which are refreshed in between, for each of them and
    for the one that is being written."""


def predict(
    config: Config, spec: EnvSpec, state: AgentState, *, saved: Mapping[str, Any] | None = None
) -> Footprint:
    """What a run will take, or all those of several seeds together.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        state: The agent, or one of them.
        saved: Manifest of a saved replay that is gone on with.
    """
    size = replay_size(config, saved)
    steps = size.num_streams * stream_length(**size._asdict())
    # Gradients and their scaled copy live beside the state during an update.
    agent = _nbytes(state) + 2 * _nbytes(state.model)
    replay = steps * step_bytes(config, spec)
    latents = steps * latent_bytes(config, spec)
    more = config.checkpoint.keep * latents + (config.checkpoint.keep + 1) * _nbytes(state)
    return Footprint(*(config.seeds * size for size in (replay, agent, replay + more)))


def check(
    config: Config,
    spec: EnvSpec,
    state: AgentState,
    path: Path,
    *,
    saved: Mapping[str, Any] | None = None,
) -> None:
    """Refuses a run whose replay will not fit.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        state: The agent, or one of them.
        path: Folder of the run, which need not exist.
        saved: Manifest of a saved replay that is gone on with.

    Raises:
        UsageError: If it will not fit; names settings that would.
    """
    fits = functools.partial(
        check_replay_fits, **replay_size(config, saved)._asdict(), disk=free_disk(path)
    )
    one, agent = step_bytes(config, spec), predict(config, spec, state, saved=saved).agent
    if config.loop == "host":
        memory, storage = available_memory(), config.replay.storage
        fits(step_bytes=config.seeds * one, storage=storage, memory=memory, other_bytes=agent)
        return
    # The replay of one run at a time is copied to the host, to be saved.
    memory = device_memory()
    if memory is None:
        copies = config.seeds + 1
        memory = available_memory()
    else:
        copies = config.seeds
        fits(step_bytes=one, storage="ram", memory=available_memory(), other_bytes=0)
    fits(step_bytes=copies * one, storage="device", memory=memory, other_bytes=agent)


def free_disk(path: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _nbytes(tree) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree) if isinstance(x, jax.Array))
