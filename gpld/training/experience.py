"""Experience: the form of env steps on their way from environments through replay to batches."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..agent import choices
from ..config import Config
from ..envs import EnvSpec, TimeStep
from ..errors import UsageError
from ..losses import Batch
from ..models import StoredLatent
from ..replay import AbstractReplay, DeviceReplay, Replay, Sample, StepSpec
from ..seeding import derive_seed

LATENT = ("latent/deter", "latent/classes")
"""Names of the latent states in replay."""


def step_specs(config: Config, spec: EnvSpec) -> dict[str, StepSpec]:
    """Return shape and dtype of every array that replay stores of an env step."""
    model = config.model
    return {
        **{name: StepSpec(array.shape, array.dtype) for name, array in spec.stored.items()},
        "latent/deter": StepSpec((model.dims.deter,), np.dtype(choices(config).dtype)),
        "latent/classes": StepSpec((model.stoch,), np.dtype(np.uint8)),
    }


def to_steps(step: TimeStep, action: Any, latent: StoredLatent) -> dict[str, Any]:
    """Convert one env step of every environment into the arrays that replay stores."""
    values = step._asdict()
    return {**values.pop("observation"), **values, "action": action, **by_name(latent)}


def by_name(latents: Iterable[Any]) -> dict[str, Any]:
    """Name latent states as replay does."""
    return dict(zip(LATENT, latents, strict=True))


def to_batch(steps: Mapping[str, Any], spec: EnvSpec) -> Batch:
    """Convert windows into a batch: all steps but the first, which gives latent state and action.

    Arrays of the host are on their way to whichever devices train.
    """
    names = (*spec.observation, "reward", "is_first", "is_last", "is_terminal")
    trained = {name: steps[name][:, 1:] for name in names}
    return Batch(
        observation={name: trained.pop(name) for name in spec.observation},
        prev_action=steps["action"][:, :-1],
        context=StoredLatent(*(steps[name][:, 0] for name in LATENT)),
        **trained,
    )


def refresh(replay: AbstractReplay, sample: Sample, latents: StoredLatent) -> None:
    """Write the latent states recomputed in an update back to where they were sampled."""
    on_host(replay).refresh(sample, by_name(map(np.asarray, latents)))


class ReplaySize(NamedTuple):
    """Sizes that decide how much memory a replay takes."""

    num_streams: int
    window: int
    capacity: int
    max_steps: int


def replay_size(config: Config, saved: Mapping[str, Any] | None = None) -> ReplaySize:
    """Return the sizes of a run's replay.

    Args:
        config: Settings.
        saved: Manifest of a saved replay that must fit into it.

    Raises:
        UsageError: If that has more environments than sequences are to be kept.
    """
    num_streams = config.env.num_envs
    max_steps = math.ceil(config.env_steps / num_streams)
    if saved is not None:
        num_streams = saved["num_streams"]
        max_steps = max(max_steps, saved["state"]["num_added"])
        if config.replay.capacity < num_streams:
            raise UsageError(
                f"`replay.capacity` must be at least {num_streams}, a sequence for each stream "
                f"of the stored replay, got {config.replay.capacity}."
            )
    return ReplaySize(
        num_streams, config.replay.batch_length + 1, config.replay.capacity, max_steps
    )


def make_replay(
    config: Config,
    spec: EnvSpec,
    folder: Path | None,
    saved: Mapping[str, Any] | None = None,
    *,
    process: int = 0,
) -> AbstractReplay:
    """Make an empty replay for the steps of a task.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        folder: Where the steps go if they are to be on disk.
        saved: Manifest of a saved replay that must fit into it.
        process: Number of the process that has it.
    """
    specs, size = step_specs(config, spec), replay_size(config, saved)._asdict()
    seed = derive_seed(config.seed, "replay", process)
    shared = {"mutable": LATENT, "online": config.replay.online, "seed": seed}
    if config.loop == "device":
        return DeviceReplay(specs, **size, **shared)
    folder = folder if config.replay.storage == "disk" else None
    return Replay(specs, **size, **shared, folder=folder)


def sample(replay: AbstractReplay, batch_size: int) -> Sample:
    """Sample windows, with the latent states of their context steps alone."""
    return on_host(replay).sample(batch_size, context_only=LATENT)


def on_host(replay: AbstractReplay) -> Replay:
    """Return a replay as one on the host, which the loop on the host has."""
    assert isinstance(replay, Replay)
    return replay


def step_bytes(config: Config, spec: EnvSpec) -> int:
    """Return the bytes of one env step in replay."""
    return sum(array.nbytes for array in step_specs(config, spec).values())


def latent_bytes(config: Config, spec: EnvSpec) -> int:
    """Return the bytes of the latent state in an env step."""
    specs = step_specs(config, spec)
    return sum(specs[name].nbytes for name in LATENT)
