"""Summary that a run prints before it begins."""

from collections.abc import Sequence
from pathlib import Path

import jax

from ..agent import AgentState, choices
from ..config import Config
from ..config.train_ratio import train_ratio
from ..envs import EnvSpec, choose_backend, probe
from ..envs.dmc.opengl import find_backend
from ..machine.memory import available_memory, device_memory
from ..models import parameter_counts, split_shapes
from ..units import byte_size, count
from ..xla.precision import describe_products
from .memory_estimate import free_disk, predict
from .source import num_workers


def describe(config: Config, spec: EnvSpec, state: AgentState, path: Path) -> str:
    """Summarise in a few lines what a run will do."""
    chosen, counts = choices(config), parameter_counts(state.model)
    products = describe_products(chosen)
    ratio = train_ratio(config)
    replay, agent, checkpoints = map(byte_size, predict(config.share, spec, state))
    penalty = ", ".join(
        f"{k} {v:g} ({config.gpld.estimator})" for k, v in config.gpld.coefficients.items()
    )
    return "\n".join(
        [
            f"run         {path}",
            f"task        {config.task}: {count(spec.action_size, 'action')}",
            *([] if config.offline else [f"engine      {_engine(config)}"]),
            f"inputs      {_inputs(config, spec)}",
            f"settings    preset {config.preset}, {_seeds(config)}, "
            f"penalty {penalty or 'off (DreamerV3)'}",
            f"device      {_devices(config)}, computing in {_PRECISIONS[chosen.precision]}",
            f"loop        {_LOOPS[config.loop]}",
            *([f"products    {products}"] if products is not None else []),
            f"parameters  {sum(counts.values()):,}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            f"length      {'each ' * (config.seeds > 1)}{config.env_steps:,} env steps = "
            f"{config.env_steps * config.env.action_repeat:,} frames, "
            f"{count(ratio.updates_due(config.env_steps), 'update')}; "
            f"{ratio.ratio:g} updates per env step from env step {ratio.first_env_step:,} on",
            f"memory      {replay} for replay once it is full "
            f"({_place(config)}), {agent} for the agent and its gradients; "
            f"{byte_size(_free_memory(config))} are free",
            f"disk        up to {checkpoints} for checkpoints; "
            f"{byte_size(free_disk(path))} are free",
        ]
    )


_LOOPS = {
    "host": "on the host: environments, replay and updates take turns",
    "device": "on the device: environments, replay and updates are one program",
}


_PRECISIONS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "mixed": "mixed precision (products in bfloat16, all else in float32)",
}


def _place(config: Config) -> str:
    """Name the place of the replay."""
    if config.loop == "device":
        return "on the device"
    return "on disk" if config.replay.storage == "disk" else "in memory"


def _free_memory(config: Config) -> int:
    """Return the bytes of memory that are free where the replay is."""
    on_device = device_memory() if config.loop == "device" else None
    return available_memory() if on_device is None else on_device


def _engine(config: Config) -> str:
    """Describe what steps the environments, and where."""
    env, workers = config.env, num_workers(config, config.seeds)
    backend = choose_backend(config.task, env.backend, env.observations)
    if backend == "batch":
        return f"batch: MuJoCo's batched simulation, {count(max(workers, 1), 'thread')}"
    if backend == "mjx":
        simulator = "functions" if config.task in probe.TASKS else "MuJoCo"
        return (
            f"mjx: {simulator} in JAX, {env.num_envs} environments in one program ({env.mjx_impl})"
        )
    where = count(workers, "process", "es") if workers else "in the training process"
    return f"{'Python' if config.task in probe.TASKS else 'dmc: dm_control'}, {where}"


def _inputs(config: Config, spec: EnvSpec) -> str:
    """Describe which observations go through which networks, and what draws the images."""
    parts = split_shapes({name: array.shape for name, array in spec.observation.items()})
    lines = [
        f"{kind} {', '.join(f'{name} {_shape(shape)}' for name, shape in shapes.items())}"
        for kind, shapes in zip(("vectors", "images"), parts, strict=True)
        if shapes
    ]
    if config.env.observations != "vectors" and not config.offline:
        lines[-1] += f" (drawn with {find_backend()})"
    return "; ".join(lines)


def _shape(shape: Sequence[int]) -> str:
    """Format the sizes of an array's axes; a single number is one."""
    return " x ".join(map(str, shape)) or "1"


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
