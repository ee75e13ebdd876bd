"""The training loop: act, step, store, sample, update, refresh."""

from pathlib import Path

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from . import agent, checkpoint, run_folder
from .analysis import learning_curve
from .announcement import describe
from .config import Config
from .console import RunConsole
from .envs import VectorEnv, make_vector_env
from .evaluation import run_episodes
from .experience import make_replay, refresh, to_batch, to_steps, train_ratio
from .metrics import EpisodeTracker, MeanMetrics, Stopwatch
from .models import StoredLatent, parameter_counts
from .provenance import num_cores
from .replay import Sample
from .run_folder import RunFolder
from .seeding import derive_seed


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
        init_key, loop_key = jr.split(jr.key(config.seed))
        shapes = {name: array.shape for name, array in spec.observation.items()}
        # One compiled program: drawing each kernel by itself takes longer to compile.
        state = eqx.filter_jit(agent.init)(config, shapes, spec.action_size, key=init_key)
        folder = run_folder.create(path, config, spec, parameter_counts(state.model))
        with RunConsole(config.env_steps) as console:
            console.print(describe(config, spec, state, path))
            _loop(config, envs, state, folder, console, key=loop_key)
    return folder


def _loop(
    config: Config,
    envs: VectorEnv,
    state: agent.AgentState,
    folder: RunFolder,
    console: RunConsole,
    *,
    key: PRNGKeyArray,
) -> None:
    replay = make_replay(config, envs.spec)
    ratio = train_ratio(config)
    act, update, report = compiled(config)
    act_key, update_key, report_key = jr.split(key, 3)
    memory = agent.initial_memory(state.model, envs.num_envs)
    episodes, metrics, stopwatch = EpisodeTracker(envs.num_envs), MeanMetrics(), Stopwatch()
    pending: tuple[Sample, StoredLatent] | None = None
    batch, diagnostics = None, {}
    env_step = num_updates = logged_at = 0
    scores: list[float] = []

    def clocks() -> dict[str, int]:
        frame = env_step * config.env.action_repeat
        return {"env_step": env_step, "frame": frame, "update": num_updates}

    def show(now: bool = False) -> None:
        elapsed, seconds = stopwatch.read()
        console.progress(
            env_step,
            num_updates,
            env_steps_per_second=(env_step - logged_at) / elapsed,
            shares={part: value / elapsed for part, value in seconds.items()},
            now=now,
        )

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
        for episode in episodes.add(step):
            folder.append("episodes", [clocks() | episode._asdict()])
            scores.append(episode.score)
            console.episode(episode.score)

        while num_updates < ratio.updates_due(env_step):
            with stopwatch("replay"):
                sample = replay.sample(config.replay.batch_size)
            with stopwatch("update"):
                batch = to_batch(sample, envs.spec)
                state, latents, values = update(state, batch, update_key)
            metrics.add(values)
            if num_updates == 0:
                console.first_update()
            num_updates += 1
            with stopwatch("replay"):  # while the device works on the update
                if pending is not None:
                    refresh(replay, *pending)
                pending = (sample, latents)
            show()
        with stopwatch("update"):
            jax.block_until_ready(state)
        show()

        if due(config.evaluation.every) or env_step >= config.env_steps:
            with stopwatch("evaluation"):
                line = evaluate(config, state, env_step)
            folder.append("scores", [clocks() | line])
            learning_curve(folder)
            console.print(
                f"evaluation at env step {env_step:,}: return {line['mean']:.1f} "
                f"± {line['std']:.1f} over {len(line['scores'])} episodes"
            )
        if config.log.report_every and due(config.log.report_every) and batch is not None:
            with stopwatch("report"):
                diagnostics = jax.device_get(report(state, batch, report_key))
        if due(config.log.every) or env_step >= config.env_steps:
            show(now=True)
            values = metrics.pop() | {name: float(x) for name, x in diagnostics.items()}
            folder.append("metrics", [clocks() | _line(values, scores, *stopwatch.read())])
            stopwatch.reset()
            scores, logged_at, diagnostics = [], env_step, {}
        if due(config.log.checkpoint_every) or env_step >= config.env_steps:
            checkpoint.save(folder.checkpoint(env_step), state)


def compiled(config: Config):
    """The compiled functions of the loop, each of which may compile only once.

    Args:
        config: Settings.

    Returns:
        `act(model, memory, step, env_step, key)`, `update(state, batch, key)` and
        `report(state, batch, key)`, to be called with the same keys throughout: they are
        mixed with env step or update count.
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

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def report(state, batch, key):
        key = jr.fold_in(key, state.update)
        return agent.report(state, batch, config=config, key=key)

    return act, update, report


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


def _make_envs(config: Config) -> VectorEnv:
    workers = config.env.workers
    if workers is None:
        workers = min(config.env.num_envs, num_cores())
    return make_vector_env(
        config.task,
        num_envs=config.env.num_envs,
        seed=derive_seed(config.seed, "collect"),
        action_repeat=config.env.action_repeat,
        workers=workers,
    )


def _line(
    values: dict[str, float], scores: list[float], elapsed: float, seconds: dict[str, float]
) -> dict:
    """Metrics of one logging interval under their documented names."""
    line = {f"train/{name}": value for name, value in values.items()}
    if scores:
        line["episode/score"] = float(np.mean(scores))
    line["time/seconds"] = elapsed
    return line | {f"time/share/{part}": value / elapsed for part, value in seconds.items()}
