"""What a run says about itself before it begins."""

from pathlib import Path

import jax

from .agent import AgentState, choose_precision
from .config import Config
from .envs import EnvSpec
from .experience import train_ratio
from .footprint import free_disk, predict
from .memory import available_memory
from .models import parameter_counts


def describe(config: Config, spec: EnvSpec, state: AgentState, path: Path) -> str:
    """What a run will do, in a few lines."""
    counts = parameter_counts(state.model)
    ratio = train_ratio(config)
    replay, agent, checkpoints = (size / 2**30 for size in predict(config.share, spec, state))
    penalty = ", ".join(
        f"{k} {v:g} ({config.gpld.estimator})" for k, v in config.gpld.coefficients.items()
    )
    shapes = ", ".join(f"{k} {list(s.shape)}" for k, s in spec.observation.items())
    return "\n".join(
        [
            f"run         {path}",
            f"task        {config.task}: {shapes}; {spec.action_size} actions",
            f"settings    preset {config.preset}, {_seeds(config)}, "
            f"penalty {penalty or 'off (DreamerV3)'}",
            f"device      {_devices(config)}, computing in {choose_precision(config)}",
            f"parameters  {sum(counts.values()):,}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            f"length      {'each ' * (config.seeds > 1)}{config.env_steps:,} env steps = "
            f"{config.env_steps * config.env.action_repeat:,} frames, "
            f"{ratio.updates_due(config.env_steps):,} updates; "
            f"{ratio.ratio:g} updates per env step from env step {ratio.first_env_step:,} on",
            f"memory      {replay:.2f} GiB for replay once it is full "
            f"({'on disk' if config.replay.storage == 'disk' else 'in memory'}), "
            f"{agent:.2f} GiB for the agent and its gradients; "
            f"{available_memory() / 2**30:.1f} GiB are free",
            f"disk        up to {checkpoints:.2f} GiB for checkpoints; "
            f"{free_disk(path) / 2**30:.1f} GiB are free",
        ]
    )


def _seeds(config: Config) -> str:
    if config.seeds == 1:
        return f"seed {config.seed}"
    last = config.seed + config.seeds - 1
    return f"seeds {config.seed} to {last} at once, in folders of their own"


def _devices(config: Config) -> str:
    kind = jax.devices()[0].device_kind
    if config.distributed.processes > 1:
        process = f"process {jax.process_index()} of {config.distributed.processes}"
        return f"{config.devices} x {kind} in {process}, with a part of each batch"
    if config.devices == 1:
        return kind
    shared = "a part of each batch" if config.seeds == 1 else "some of the seeds"
    return f"{config.devices} x {kind} with {shared} each"
