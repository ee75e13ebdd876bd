"""Summary that a run prints before it begins."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax

from ..agent import AgentState, choices
from ..config import Config, flatten_names
from ..config.config import task_defaults
from ..config.presets import PRESETS
from ..config.train_ratio import train_ratio
from ..envs import EnvSpec, choose_backend, in_workers, is_own, probe
from ..envs.dmc.opengl import find_backend
from ..evaluation.episodes import LONGEST
from ..machine.memory import available_memory, device_memory
from ..models import parameter_counts, split_shapes
from ..units import byte_size, count
from ..xla.precision import describe_products
from .memory_estimate import free_disk, predict
from .source import num_workers

_LOOPS = {
    "host": "on the host: environments, replay and updates take turns",
    "device": "on the device: environments, replay and updates are one program",
}


_PRECISIONS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "mixed": "mixed precision (products in bfloat16, all else in float32)",
}


_SHOWN_ELSEWHERE = ("task", "preset", "run", "resume", "seed", "seeds", "env_steps")
_PLACES = {"device": "on the device", "disk": "on disk", "ram": "in memory"}


def describe(config: Config, spec: EnvSpec, state: AgentState, path: Path) -> str:
    """Summarise in a few lines what a run will do."""
    chosen, counts, ratio = choices(config), parameter_counts(state.model), train_ratio(config)
    networks = ", ".join(f"{name} {number:,}" for name, number in counts.items())
    replay, update, checkpoints = map(byte_size, predict(config.share, spec, state))
    on_host, on_device = available_memory(), device_memory()
    here = on_host if on_device is None else on_device
    beside = config.loop == "host" and on_device is not None
    free = f"; {byte_size(on_host)} are free" if beside else ""
    place = _PLACES[config.replay.storage if config.loop == "host" else "device"]
    penalty = ", ".join(
        f"{k} {v:g} ({config.gpld.estimator})" for k, v in config.gpld.coefficients.items()
    )
    lines = {
        "run": path,
        "task": f"{config.task}: "
        f"{count(spec.action_size, 'discrete action' if spec.discrete else 'action')}",
        "engine": None if config.offline else _engine(config),
        "inputs": _inputs(config, spec),
        "episodes": _episodes(config, spec),
        "settings": f"preset {config.preset}, {_seeds(config)}, "
        f"penalty {penalty or 'off (DreamerV3)'}",
        "changed": _changes(config),
        "device": f"{_devices(config)}, computing in {_PRECISIONS[chosen.precision]}",
        "loop": _LOOPS[config.loop],
        "products": describe_products(chosen),
        "parameters": f"{sum(counts.values()):,}: {networks}",
        "length": f"{'each ' * (config.seeds > 1)}{config.env_steps:,} env steps = "
        f"{config.env_steps * config.action_repeat:,} frames, "
        f"{count(ratio.updates_due(config.env_steps), 'update')}; "
        f"{ratio.ratio:g} updates per env step from env step {ratio.first_env_step:,} on",
        "memory": f"{replay} for replay once it is full ({place}{free}), {update} for an update of "
        f"the agent{' on the device' * beside}; {byte_size(here)} are free",
        "disk": f"up to {checkpoints} for checkpoints; {byte_size(free_disk(path))} are free",
    }
    return "\n".join(f"{name:12}{text}" for name, text in lines.items() if text is not None)


def _changes(config: Config) -> str | None:
    """Describe the settings that are not those of the preset, a line for each."""
    own, preset = (
        flatten_names(dataclasses.asdict(each)) for each in (config, PRESETS[config.preset])
    )
    changed = [name for name in own if own[name] != preset[name] and name not in _SHOWN_ELSEWHERE]
    width = max(map(len, changed), default=0)
    for name, value in task_defaults(config.task).items():  # what None stands for
        preset[f"env.{name}"] = preset[f"env.{name}"] or value
    lines = [f"{name:{width}} {own[name]} (preset: {preset[name]})" for name in changed]
    return f"\n{'':12}".join(lines) or None


def _engine(config: Config) -> str:
    """Describe what steps the environments, and where."""
    env, workers = config.env, num_workers(config, config.seeds)
    backend = choose_backend(config.task, env.backend, env.observations)
    if backend == "batch":
        return f"batch: MuJoCo's batched simulation, {count(max(workers, 1), 'thread')}"
    if backend == "mjx":
        simulator = "functions" if config.task in probe.TASKS or is_own(config.task) else "MuJoCo"
        return (
            f"mjx: {simulator} in JAX, {env.num_envs} environments in one program ({env.mjx_impl})"
        )
    where = count(workers, "process", "es") if workers else "in the training process"
    if not in_workers(config.task):
        where += ", since no other can import what makes them"
    dmc = config.task not in probe.TASKS and not is_own(config.task)
    return f"{'dmc: dm_control' if dmc else 'Python'}, {where}"


def _episodes(config: Config, spec: EnvSpec) -> str | None:
    """Describe what ends the episodes of an environment of one's own, and what a resume does."""
    if not is_own(config.task) or config.offline:
        return None
    limit = (
        "no time limit is known (`--env.episode_steps` sets one); evaluations cut them after "
        f"{LONGEST:,} env steps"
    )
    if spec.episode_steps:
        limit = f"at most {count(spec.episode_steps, 'env step')}"
        limit += " (`--env.episode_steps`)" if config.env.episode_steps else ""
    anew = "" if spec.resumable else "; those under way begin anew when the run is resumed"
    return f"{limit}{anew}"


def _inputs(config: Config, spec: EnvSpec) -> str:
    """Describe which observations go through which networks, and what draws the images."""
    sizes = spec.sizes
    parts = split_shapes(sizes["shapes"], sizes["num_classes"])

    def describe(name: str) -> str:
        classes = sizes["num_classes"].get(name)
        of = "" if classes is None else f" of {count(classes, 'class', 'es')}"
        return f"{name} {_shape(sizes['shapes'][name])}{of}"

    lines = [
        f"{kind} {', '.join(map(describe, names))}"
        for kind, names in zip(("vectors", "images"), parts, strict=True)
        if names
    ]
    if config.env.observations != "vectors" and not config.offline and not is_own(config.task):
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
    if config.devices == config.distributed.processes == 1:
        return kind
    shared = "a part of each batch" if config.seeds == 1 else "some of the seeds"
    processes = config.distributed.processes
    place = f" in process {jax.process_index()} of {processes}," if processes > 1 else ""
    return f"{config.devices} x {kind}{place} with {shared} each"
