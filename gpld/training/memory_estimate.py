"""Memory estimate: how much a run will take, and whether the machine has it."""

import functools
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from .. import agent
from ..agent import AgentState
from ..config import Config
from ..config.train_ratio import train_ratio
from ..envs import ArraySpec, EnvSpec, probe
from ..envs.timestep import IMAGE
from ..errors import UsageError
from ..machine.memory import available_memory, device_memory
from ..replay import stream_length
from ..units import byte_size
from .experience import latent_bytes, replay_size, step_bytes
from .update_memory import update_temporaries

# Less than any environment takes, and more than nothing: of MuJoCo, and of others.
_ENV_BYTES, _PROBE_BYTES = 2**16, 2**10


class MemoryEstimate(NamedTuple):
    """Bytes that a run will take."""

    replay: int
    """The replay once it is full."""

    update: int
    """Agents before and after an update, and what it computes with."""

    checkpoints: int
    """Checkpoints on disk, without the agents of old ones: what is observed is there once,
    the latent states, nearly all of which are refreshed in between, for each of them and
    for the one that is being written."""


def predict(
    config: Config, spec: EnvSpec, state: AgentState, *, saved: Mapping[str, Any] | None = None
) -> MemoryEstimate:
    """Estimate the memory and disk that a run takes, or all seeds together.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        state: The agent, or one of them.
        saved: Manifest of a saved replay that is gone on with.
    """
    sizes = replay_size(config, saved)
    steps = sizes.num_streams * stream_length(**sizes._asdict())
    shapes = {name: array.shape for name, array in spec.observation.items()}
    # The program of the loop on the device keeps one more in its loops.
    agents = 3 if config.loop == "device" else 2
    update = agents * _nbytes(state) + update_temporaries(config, shapes)
    replay = steps * step_bytes(config, spec)
    latents = steps * latent_bytes(config, spec)
    more = config.checkpoint.keep * latents + (config.checkpoint.keep + 1) * _nbytes(state)
    return MemoryEstimate(*(config.seeds * each for each in (replay, update, replay + more)))


def check_settings(config: Config, path: Path) -> None:
    """Refuse a run that can make no update, or can fit nowhere, before anything is opened.

    What is known of the task without its environments is less than what the run will take, so
    that nothing is refused that would fit.

    Args:
        config: Settings.
        path: Folder of the run, which need not exist.

    Raises:
        UsageError: If it cannot be run; names the settings that decide about it.
    """
    own, num_envs = config.share, config.env.num_envs
    first = train_ratio(config).first_env_step
    if -(-config.env_steps // num_envs) * num_envs < first and not (path / "config.json").exists():
        raise UsageError(
            f"`env_steps` must be at least {first}, where the first update is made (which "
            "`replay.batch_length`, `replay.batch_size` and `env.num_envs` decide), got "
            f"{config.env_steps}: the run would make no update."
        )
    memory, probed = available_memory(), config.task in probe.TASKS
    evaluated = min(config.evaluation.num_envs, config.evaluation.episodes)
    collecting = 0 if config.offline else own.env.num_envs * config.seeds
    for number, names in (
        (collecting, "`env.num_envs` or `seeds`"),
        (evaluated, "`evaluation.num_envs`"),
    ):
        needed = number * (_PROBE_BYTES if probed else _ENV_BYTES)
        _check_fits(f"{number:,} environments", needed, memory, names)
    spec = EnvSpec({"vector": ArraySpec((1,), np.dtype(np.float32))}, 1, 1, 1)
    side = config.image_size  # None: it is known when there is an environment
    if config.env.observations != "vectors" and not probed and side is not None:
        spec = spec._replace(observation={IMAGE: ArraySpec((side, side, 3), np.dtype(np.uint8))})
    shapes = {name: array.shape for name, array in spec.observation.items()}
    try:
        state = agent.abstract_state(own, shapes, 1)
    except ValueError as error:  # sides of pictures that cannot be halved so often
        raise UsageError(str(error)) from error
    _check_update_fits(own, state, shapes)
    if config.offline is None:
        check(own, spec, state, path)


def check_networks(config: Config, spec: EnvSpec) -> None:
    """Refuse a task with so many numbers or choices that its networks fit nowhere.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.

    Raises:
        UsageError: If they do not fit.
    """
    state = agent.abstract_state(config, **spec.sizes)
    _check_update_fits(config, state, spec.sizes["shapes"])


def check(
    config: Config,
    spec: EnvSpec,
    state: AgentState,
    path: Path,
    *,
    saved: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a run whose replay will not fit.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        state: The agent, or one of them.
        path: Folder of the run, which need not exist.
        saved: Manifest of a saved replay that is gone on with.

    Raises:
        UsageError: If it will not fit; names settings that would.
    """
    sizes = replay_size(config, saved)
    fits = functools.partial(check_replay_fits, **sizes._asdict(), disk=free_disk(path))
    all_steps = config.seeds * step_bytes(config, spec)
    on_host, on_device = available_memory(), device_memory()
    update = predict(config, spec, state, saved=saved).update
    if config.loop == "host":
        storage, beside = config.replay.storage, update if on_device is None else 0
        fits(step_bytes=all_steps, storage=storage, memory=on_host, other_bytes=beside)
        return
    # What is saved is on the host until it is written: latent states, nearly all of which change.
    saved_steps = config.seeds * latent_bytes(config, spec)
    if on_device is None:
        all_steps, on_device = all_steps + saved_steps, on_host
    places = [
        {"step_bytes": all_steps, "storage": "device", "memory": on_device, "other_bytes": update},
        {"step_bytes": saved_steps, "storage": "host", "memory": on_host, "other_bytes": 0},
    ]
    # Where the fewest steps fit decides, so that what is advised fits in both.
    fits(**min(places, key=lambda x: (x["memory"] - x["other_bytes"]) / x["step_bytes"]))


def free_disk(path: Path) -> int:
    """Return the bytes that are free where a folder is, or will be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _check_update_fits(
    config: Config, state: AgentState, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse networks, or batches of imagined sequences, that no setting of the replay makes fit.

    Raises:
        UsageError: If they will not fit.
    """
    memory = device_memory()
    memory = available_memory() if memory is None else memory
    # On each of several devices there are some of the agents, or all of one.
    agents = 2 * -(-config.seeds // config.devices) * _nbytes(state)
    names = "`model.size` or widths, `env.image_size` or `seeds`"
    _check_fits("The agents before and after an update", agents, memory, names)
    # As much less as the estimate may be wrong.
    needed = 0.85 * update_temporaries(config, shapes) * config.seeds / config.devices
    names = "`replay.batch_size`, `replay.batch_length`, `ac.imag_length` or `model.size`"
    _check_fits("The intermediate results of an update", round(needed), memory - agents, names)


def _check_fits(what: str, needed: int, memory: int, names: str) -> None:
    if needed > memory:
        raise UsageError(
            f"{what} take at least {byte_size(needed)} of memory, but "
            f"{byte_size(max(memory, 0))} are free; choose less for {names}."
        )


def _nbytes(tree: Any) -> int:
    """Return the bytes of the arrays in a tree, or of those that would be there."""
    kinds = (jax.Array, jax.ShapeDtypeStruct)
    leaves = [x for x in jax.tree.leaves(tree) if isinstance(x, kinds)]
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)


def check_replay_fits(
    *,
    step_bytes: int,
    num_streams: int,
    window: int,
    capacity: int,
    max_steps: int,
    storage: Literal["ram", "disk", "device", "host"],
    memory: int,
    disk: int,
    other_bytes: int,
) -> None:
    """Refuse a replay that would not fit once it is full.

    Args:
        step_bytes: Bytes of one step of one stream.
        num_streams: Number of streams.
        window: Steps per window.
        capacity: Windows kept, over all streams.
        max_steps: Steps that will be added to each stream at most.
        storage: Where the replay is to be; host is the copy there of one on the device, of which
            a checkpoint is written.
        memory: Bytes of memory that are there, on the device if the replay is to be there
            (`available_memory`, `device_memory`).
        disk: Bytes that the replay may take on disk.
        other_bytes: Bytes of memory that the rest of the run needs.

    Raises:
        UsageError: If it would not fit; the message names the settings that would.
    """
    needed = step_bytes * num_streams * stream_length(num_streams, window, capacity, max_steps)
    beside = max(0, memory - other_bytes)
    room = {"ram": beside, "device": beside, "host": beside, "disk": disk}
    if needed <= room[storage]:
        return
    fitting = []
    length = room[storage] // (step_bytes * num_streams)
    if (windows := _round_down((length - window + 1) * num_streams)) >= num_streams:
        fitting.append(f"`--replay.capacity {windows}`")
    if (env_steps := _round_down(length * num_streams)) >= window * num_streams:
        fitting.append(f"`--env_steps {env_steps}`")
    other = {"ram": "disk", "disk": "ram"}.get(storage)
    if other is not None and needed <= room[other]:
        fitting.append(f"`--replay.storage {other}`")
    rest = f"beside the {byte_size(other_bytes)} of the rest of the run " * (other_bytes > 0)
    rest += f"{byte_size(beside)} are free"
    place = {
        "ram": f"of memory once it is full, but {rest}",
        "device": f"of device memory, but {rest}",
        "host": f"of the host's memory for a checkpoint, but {rest}",
        "disk": f"of disk, but {byte_size(disk)} are free",
    }
    advice = f"It fits with {' or '.join(fitting)}."
    if not fitting:
        advice = "No setting of it fits; choose less for `model.size`, `seeds` or `env.num_envs`."
    raise UsageError(f"The replay takes {byte_size(needed)} {place[storage]}. {advice}")


def _round_down(number: int) -> int:
    """Round down to two digits and zeros."""
    if number <= 0:
        return 0
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit
