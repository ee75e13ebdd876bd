"""What a step of experience holds, on its way from the environments through replay."""

import math

import jax.numpy as jnp
import numpy as np

from .agent import compute_dtype
from .config import Config
from .envs import EnvSpec, TimeStep
from .losses import Batch
from .models import StoredLatent
from .replay import Replay, Sample, StepSpec, TrainRatio, stream_length
from .seeding import derive_seed

_LATENT = ("latent/deter", "latent/classes")


def step_specs(config: Config, spec: EnvSpec) -> dict[str, StepSpec]:
    """What is stored of one env step."""
    model = config.model
    flag, number = np.dtype(bool), np.dtype(np.float32)
    return {
        **{name: StepSpec(array.shape, array.dtype) for name, array in spec.observation.items()},
        "action": StepSpec((spec.action_size,), number),
        "reward": StepSpec((), number),
        "is_first": StepSpec((), flag),
        "is_last": StepSpec((), flag),
        "is_terminal": StepSpec((), flag),
        "latent/deter": StepSpec((model.dims.deter,), compute_dtype(config)),
        "latent/classes": StepSpec((model.stoch,), np.dtype(np.uint8)),
    }


def to_steps(step: TimeStep, action: np.ndarray, latent: StoredLatent) -> dict:
    """One env step of every environment, as replay stores it."""
    values = step._asdict()
    latents = dict(zip(_LATENT, map(np.asarray, latent), strict=True))
    return {**values.pop("observation"), **values, "action": action, **latents}


def to_batch(sample: Sample, spec: EnvSpec) -> Batch:
    """What is trained on: all steps but the first, which gives latent state and action."""
    steps = sample.steps
    names = (*spec.observation, "reward", "is_first", "is_last", "is_terminal")
    trained = {name: jnp.asarray(steps[name][:, 1:]) for name in names}
    return Batch(
        observation={name: trained.pop(name) for name in spec.observation},
        prev_action=jnp.asarray(steps["action"][:, :-1]),
        context=StoredLatent(*(jnp.asarray(steps[name][:, 0]) for name in _LATENT)),
        **trained,
    )


def refresh(replay: Replay, sample: Sample, latents: StoredLatent) -> None:
    """Writes the latents recomputed in an update back to where they were sampled."""
    replay.refresh(sample, dict(zip(_LATENT, map(np.asarray, latents), strict=True)))


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    """An empty replay for the steps of a task."""
    return Replay(
        step_specs(config, spec),
        num_streams=config.env.num_envs,
        window=config.replay.batch_length + 1,
        capacity=config.replay.capacity,
        max_steps=_steps_per_env(config),
        online=config.replay.online,
        seed=derive_seed(config.seed, "replay"),
    )


def replay_bytes(config: Config, spec: EnvSpec) -> int:
    """Bytes of the replay once the run has filled it."""
    length = stream_length(
        config.env.num_envs,
        config.replay.batch_length + 1,
        config.replay.capacity,
        _steps_per_env(config),
    )
    per_step = sum(array.nbytes for array in step_specs(config, spec).values())
    return per_step * length * config.env.num_envs


def train_ratio(config: Config) -> TrainRatio:
    """How updates follow env steps."""
    replay = config.replay
    return TrainRatio(
        num_streams=config.env.num_envs,
        window=replay.batch_length + 1,
        min_windows=replay.batch_size * replay.batch_length,
        ratio=replay.updates_per_env_step,
    )


def _steps_per_env(config: Config) -> int:
    return math.ceil(config.env_steps / config.env.num_envs)
