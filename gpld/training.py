"""A run from its settings: its parts are made, put together, and resumed where it was."""

import contextlib
import functools
from pathlib import Path

import equinox as eqx
import jax.random as jr
from jaxtyping import PRNGKeyArray

from . import agent, footprint
from .agent import AgentState
from .announcement import describe
from .checkpointer import Checkpointer
from .collection import Collector, LiveCollector, OfflineCollector
from .config import Config, to_dict
from .console import RunConsole
from .envs import EnvSpec, VectorEnv, make_vector_env
from .evaluator import Evaluator
from .experience import make_replay
from .interrupts import Interrupts
from .learning import Learner
from .loop import Loop
from .models import parameter_counts
from .offline import find_source, take_over
from .profiling import Profiler
from .provenance import num_cores
from .recorder import Recorder
from .run_folder import RunFolder
from .run_start import locked, open_run
from .seeding import derive_seed
from .sinks import make_sinks


def train(config: Config, path: Path) -> RunFolder:
    """Trains an agent and leaves a run folder behind, or goes on with the run in there.

    SIGINT and SIGTERM end it after the update that is being made, with a checkpoint.

    Args:
        config: Settings.
        path: Folder of the run: new, empty, or that of a run with the same settings.

    Returns:
        The run folder.

    Raises:
        ValueError: If the task is unknown or an argument of the environments is bad.
        UsageError: If the folder holds something else, or the machine has too little memory.
        MachineError: If files cannot be written, no checkpoint can be used, or numbers are
            not finite.
        WorkerError: If environments failed too often.
        Interrupted: If a signal ended the run, which was saved.
    """
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(locked(path))
        source = find_source(config, path) if config.offline else None
        if source is None:
            envs = enter(make_envs(config))
            spec, manifest = envs.spec, None
        else:
            envs, spec, manifest = None, source.spec, source.manifest
        init_key, loop_key = jr.split(jr.key(config.seed))
        state = _init(config, spec, key=init_key)
        footprint.check(config, spec, state, path, saved=manifest)

        dtype = str(agent.compute_dtype(config))
        folder = open_run(path, config, spec, parameter_counts(state.model), dtype)
        console = enter(RunConsole(config.env_steps))
        console.print(describe(config, spec, state, path))
        interrupts = enter(Interrupts(console.print))
        checkpointer = enter(Checkpointer(folder, config.checkpoint, console.print))
        replay_for = functools.partial(make_replay, config, spec, path / "replay")
        saved = checkpointer.latest(state, replay_for)
        if saved is None:
            replay = replay_for(manifest)
            if source is not None:
                take_over(source, replay)
        else:
            state, replay = saved.agent, saved.replay

        folder.rewind({} if saved is None else saved.manifest["logs"])
        sinks = make_sinks(
            tensorboard=config.log.tensorboard,
            wandb_project=config.log.wandb,
            folder=folder.path,
            settings=to_dict(config),
            resumed_at=None if saved is None else saved.manifest["env_step"],
            warn=console.print,
        )
        recorder = enter(Recorder(config, folder, console, sinks))
        act, update, report = compiled(config)
        act_key, update_key, report_key = jr.split(loop_key, 3)
        collector: Collector = OfflineCollector(recorder)
        if envs is not None:
            collector = LiveCollector(envs, replay, recorder, act, state.model, key=act_key)
        loop = Loop(
            config,
            collector,
            replay,
            Learner(config, state, replay, recorder, folder, spec, update, key=update_key),
            recorder,
            checkpointer,
            enter(Profiler(path / "profile", config.profile, console.print)),
            evaluate=Evaluator(config, folder, interrupts, console.print),
            report=lambda state, batch: report(state, batch, report_key),
            interrupted=lambda: interrupts.received,
        )
        if saved is None:
            collector.begin()
        else:
            loop.set_state(saved.loop)
            console.print(f"resumed     at env step {recorder.env_step:,} from {saved.path}")
        if loop.finished:
            console.print("the run is complete; more `--env_steps` make it longer")
        loop.run()
    return folder


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


def _init(config: Config, spec: EnvSpec, *, key: PRNGKeyArray) -> AgentState:
    shapes = {name: array.shape for name, array in spec.observation.items()}
    # One compiled program: drawing each kernel by itself takes longer to compile.
    return eqx.filter_jit(agent.init)(config, shapes, spec.action_size, key=key)


def make_envs(config: Config) -> VectorEnv:
    """The environments that a run collects experience in.

    Args:
        config: Settings.
    """
    workers = config.env.workers
    if workers is None:
        workers = min(config.env.num_envs, num_cores())
    return make_vector_env(
        config.task,
        num_envs=config.env.num_envs,
        seed=derive_seed(config.seed, "collect"),
        action_repeat=config.env.action_repeat,
        workers=workers,
        timeout=config.env.timeout,
        # What was lost with a worker cannot be repeated.
        max_restarts=0 if config.deterministic else config.env.max_restarts,
    )
