"""The training loop: act, step, store, sample, update, refresh."""

import math
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import psutil

from . import agent, checkpoint, run_folder
from .analysis import learning_curve
from .config import Config
from .console import RunConsole
from .envs import EnvSpec, TimeStep, VectorEnv, make_vector_env
from .evaluation import run_episodes
from .losses import Batch
from .metrics import EpisodeTracker, MeanMetrics, Stopwatch
from .models import StoredLatent, parameter_counts
from .replay import Replay, Sample, StepSpec, TrainRatio, stream_length
from .run_folder import RunFolder
from .seeding import derive_seed

_LATENT = ("latent/deter", "latent/classes")


def train(config: Config, path: Path) -> RunFolder:
    """Trains an agent and leaves a run folder behind.

    Args:
        config: Settings.
        path: Folder of the run, new or empty.

    Returns:
        The run folder.

    Raises:
        ValueError: If the task is unknown or an argument of the environments is bad.
        UsageError: If the folder holds another run.
        MachineError: If files cannot be written.
        WorkerError: If an environment failed.
    """
    with _make_envs(config) as envs:
        spec = envs.spec
        keys = dict(zip(("init", "act"), jr.split(jr.key(config.seed)), strict=True))
        shapes = {name: array.shape for name, array in spec.observation.items()}
        # One compiled program: drawing each kernel by itself takes longer to compile.
        state = eqx.filter_jit(agent.init)(config, shapes, spec.action_size, key=keys["init"])
        folder = run_folder.create(path, config, spec, parameter_counts(state.model))
        with RunConsole(config.env_steps) as console:
            console.print(describe(config, spec, state, path))
            state = _loop(config, envs, state, folder, console, keys["act"])
    return folder


def _loop(
    config: Config,
    envs: VectorEnv,
    state: agent.AgentState,
    folder: RunFolder,
    console: RunConsole,
    key: jax.Array,
) -> agent.AgentState:
    replay = make_replay(config, envs.spec)
    ratio = train_ratio(config)
    act, update = compiled(config)
    act_key, update_key = jr.split(key)
    memory = agent.initial_memory(state.model, envs.num_envs)
    episodes, metrics, stopwatch = EpisodeTracker(envs.num_envs), MeanMetrics(), Stopwatch()
    pending: tuple[Sample, StoredLatent] | None = None
    env_step = num_updates = logged_at = 0
    scores: list[float] = []

    def clocks() -> dict[str, int]:
        frame = env_step * config.env.action_repeat
        return {"env_step": env_step, "frame": frame, "update": num_updates}

    def due(every: int) -> bool:
        return env_step // every > (env_step - envs.num_envs) // every

    envs.send(np.zeros((envs.num_envs, envs.spec.action_size), np.float32))
    while env_step < config.env_steps:
        with stopwatch("environment"):
            step = envs.recv()
        with stopwatch("policy"):
            memory, latent = act(state.model, memory, step, np.uint32(env_step), act_key)
            action = np.asarray(memory.action)
        envs.send(action)  # the environments step while the agent updates
        with stopwatch("replay"):
            replay.add(to_steps(step, action, latent))
        env_step += envs.num_envs
        ended = episodes.add(step)
        folder.append("episodes", ({**clocks(), **e._asdict()} for e in ended))
        scores += [episode.score for episode in ended]

        while num_updates < ratio.updates_due(env_step):
            with stopwatch("replay"):
                sample = replay.sample(config.replay.batch_size)
            with stopwatch("update"):
                state, latents, values = update(state, to_batch(sample, envs.spec), update_key)
            metrics.add(values)
            num_updates += 1
            with stopwatch("replay"):  # while the device works on the update
                _refresh(replay, pending)
                pending = (sample, latents)
        with stopwatch("update"):
            jax.block_until_ready(state)

        if due(config.evaluation.every) or env_step >= config.env_steps:
            with stopwatch("evaluation"):
                line = evaluate(config, state, env_step)
            folder.append("scores", [clocks() | line])
            learning_curve(folder)
            console.print(
                f"evaluation at env step {env_step:,}: return {line['mean']:.1f} "
                f"± {line['std']:.1f} over {len(line['scores'])} episodes"
            )
        if due(config.log.every) or env_step >= config.env_steps:
            elapsed, seconds = stopwatch.pop()
            shares = {part: value / elapsed for part, value in seconds.items()}
            folder.append("metrics", [clocks() | _line(metrics, scores, elapsed, shares)])
            console.progress(
                env_step,
                num_updates,
                scores=scores,
                elapsed=elapsed,
                env_steps=env_step - logged_at,
                shares=shares,
            )
            scores, logged_at = [], env_step
        if due(config.log.checkpoint_every) or env_step >= config.env_steps:
            checkpoint.save(folder.checkpoint, state)
    return state


def compiled(config: Config):
    """The two compiled functions of the loop, each of which may compile only once.

    Args:
        config: Settings.

    Returns:
        `act(model, memory, step, env_step, key)` and `update(state, batch, key)`, to be
        called with the same keys throughout: they are mixed with env step or update count.
    """

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def act(model, memory, step, env_step, key):
        key = jr.fold_in(key, env_step)
        return agent.act(model, memory, step.observation, step.is_first, step.is_last, key=key)

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def update(state, batch, key):
        key = jr.fold_in(key, state.update)
        return agent.update(state, batch, config=config, key=key)

    return act, update


def evaluate(config: Config, state: agent.AgentState, env_step: int) -> dict:
    """Evaluates the agent as the settings say, in environments of its own.

    Returns:
        Returns and lengths of all episodes, mean and population standard deviation.
    """
    num_episodes = config.evaluation.episodes
    seed = derive_seed(config.seed, "evaluate", env_step)
    with make_vector_env(
        config.task,
        num_envs=min(num_episodes, config.evaluation.num_envs),
        seed=seed,
        action_repeat=config.env.action_repeat,
    ) as envs:
        episodes = run_episodes(state.model, envs, num_episodes, key=jr.key(seed))
    scores = [episode.score for episode in episodes]
    return {
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "scores": scores,
        "lengths": [episode.length for episode in episodes],
    }


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
        "latent/deter": StepSpec((model.dims.deter,), agent.compute_dtype(config)),
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


def train_ratio(config: Config) -> TrainRatio:
    """How updates follow env steps."""
    replay = config.replay
    return TrainRatio(
        num_streams=config.env.num_envs,
        window=replay.batch_length + 1,
        min_windows=replay.batch_size * replay.batch_length,
        ratio=replay.updates_per_env_step,
    )


def describe(config: Config, spec: EnvSpec, state: agent.AgentState, path: Path) -> str:
    """What a run will do, in a few lines."""
    counts = parameter_counts(state.model)
    ratio = train_ratio(config)
    gib = {
        "replay": replay_bytes(config, spec) / 2**30,
        # Gradients and their scaled copy live beside the state during an update.
        "agent": (_nbytes(state) + 2 * _nbytes(state.model)) / 2**30,
    }
    penalty = ", ".join(f"{k} {v:g}" for k, v in config.gpld.coefficients.items())
    shapes = ", ".join(f"{k} {list(s.shape)}" for k, s in spec.observation.items())
    return "\n".join(
        [
            f"run         {path}",
            f"task        {config.task}: {shapes}; {spec.action_size} actions",
            f"settings    preset {config.preset}, seed {config.seed}, "
            f"penalty {penalty or 'off (DreamerV3)'}",
            f"device      {jax.devices()[0].device_kind}, computing in "
            f"{agent.compute_dtype(config)}",
            f"parameters  {sum(counts.values()):,}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            f"length      {config.env_steps:,} env steps = "
            f"{config.env_steps * config.env.action_repeat:,} frames, "
            f"{ratio.updates_due(config.env_steps):,} updates; "
            f"{ratio.ratio:g} updates per env step from env step {ratio.first_env_step:,} on",
            f"memory      {gib['replay']:.2f} GiB for replay once it is full, "
            f"{gib['agent']:.2f} GiB for the agent and its gradients; "
            f"{psutil.virtual_memory().available / 2**30:.1f} GiB are free",
        ]
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


def _make_envs(config: Config) -> VectorEnv:
    workers = config.env.workers
    if workers is None:
        workers = min(config.env.num_envs, len(os.sched_getaffinity(0)))
    return make_vector_env(
        config.task,
        num_envs=config.env.num_envs,
        seed=derive_seed(config.seed, "collect"),
        action_repeat=config.env.action_repeat,
        workers=workers,
    )


def _steps_per_env(config: Config) -> int:
    return math.ceil(config.env_steps / config.env.num_envs)


def _refresh(replay: Replay, pending: tuple[Sample, StoredLatent] | None) -> None:
    """Writes recomputed latents back to where they were sampled."""
    if pending is not None:
        sample, latents = pending
        replay.refresh(sample, dict(zip(_LATENT, map(np.asarray, latents), strict=True)))


def _line(
    metrics: MeanMetrics, scores: list[float], elapsed: float, shares: dict[str, float]
) -> dict:
    """Metrics of one logging interval under their documented names."""
    line = {f"train/{name}": value for name, value in metrics.pop().items()}
    if scores:
        line["episode/score"] = float(np.mean(scores))
    line["time/seconds"] = elapsed
    return line | {f"time/share/{part}": share for part, share in shares.items()}


def _nbytes(tree) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree) if isinstance(x, jnp.ndarray))
