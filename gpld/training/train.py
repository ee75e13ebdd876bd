"""Runs from their settings: their parts are made, put together, and resumed where they were."""

import contextlib
import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.random as jr
from jaxtyping import PRNGKeyArray

from ..agent import AgentState, choices
from ..checkpoints.retention import Archive
from ..checkpoints.writer import Checkpointer
from ..config import Config, to_dict
from ..envs import env_seed
from ..errors import Interrupted, UsageError
from ..machine.signals import Interrupts
from ..models import parameter_counts
from ..parallel.devices import choose_placement
from ..parallel.hosts import Peers, find_peers
from ..parallel.seeds import Population, Programs, compiled, init_agents
from ..replay import AbstractReplay
from ..runs.console import RunConsole
from ..runs.folder import RunFolder
from ..runs.metrics import Stopwatch
from ..runs.recorder import Recorder
from ..runs.sinks import make_sinks
from ..runs.start import check_length, check_run, check_settings, locked, record_run
from . import memory_estimate
from .clocks import train_ratio
from .device.trainer import DeviceTrainer
from .evaluator import Evaluator
from .experience import make_replay
from .host.collector import Collector, LiveCollector, OfflineCollector
from .host.learner import Learner
from .loop import Loop
from .prediction_pictures import Predictor
from .profiling import Profiler
from .seed_run import Member, Run, planned_runs
from .source import Supply, collect_seed, open_supply
from .summary import describe
from .trainer import HostTrainer, Trainer
from .warm_start import warm_start


def train(config: Config, path: Path) -> RunFolder:
    """Trains an agent and leaves a run folder behind, or goes on with the run in there.

    With several `seeds` that is an agent for each of them, whose run folders are in there.
    SIGINT and SIGTERM end it after the update that is being made, with a checkpoint.

    Args:
        config: Settings.
        path: Folder of the run: new, empty, or that of a run with the same settings.

    Returns:
        The run folder.

    Raises:
        ValueError: If the task is unknown or an argument of the environments is bad.
        UsageError: If the folder holds something else, networks to begin with do not fit,
            there would be no update, or the machine has too little memory or too few devices.
        MachineError: If files cannot be written, no checkpoint can be used, or numbers are
            not finite.
        WorkerError: If environments failed too often.
        Interrupted: If a signal ended the run, which was saved, or has not begun yet.
    """
    memory_estimate.check_settings(config, path)
    population, peers = Population(config.seeds, choose_placement(config)), find_peers()
    with peers.explained(), contextlib.ExitStack() as stack:
        # Nothing of what was opened is named here: the agents of the beginning would stay in
        # memory.
        loop = _assemble(config, population, _open(config, path, peers, stack), peers, stack)
        loop.run()
    return RunFolder(path)


class _Opened(NamedTuple):
    """Runs whose folders are open, and what they need before their parts can be made."""

    runs: Sequence[Run]
    supplies: Sequence[Supply]
    archives: Sequence[Archive]
    checkpointer: Checkpointer
    starts: Sequence["_Start"]
    loop_keys: Sequence[PRNGKeyArray]
    console: RunConsole
    interrupts: Interrupts


def _open(config: Config, path: Path, peers: Peers, stack: contextlib.ExitStack) -> _Opened:
    """Locks folders, starts environments and finds where the runs go on; then records that.

    Whatever keeps them from going on is found before any file is touched.
    """
    enter, runs = stack.enter_context, planned_runs(config, path, peers.index)
    settings = {run.path: run.config for run in runs}
    if peers.index == 0:
        settings = {path: config, **settings}
    for folder in settings:
        enter(locked(folder))
    chosen = choices(config)
    parts = [
        run.path
        for i in range(config.distributed.processes)
        for run in planned_runs(config, path, i)
    ]
    records = {
        folder: check_run(folder, own, chosen.precision, parts=parts)
        for folder, own in settings.items()
    }
    console = enter(_console(config, len(runs)))
    interrupts = enter(Interrupts(console.print))
    supplies = [open_supply(run, len(runs), stack, peers.index) for run in runs]
    spec, manifest = supplies[0].spec, supplies[0].manifest
    init_keys, loop_keys = _columns(jr.split(jr.key(run.config.seed)) for run in runs)
    agents = init_agents(config, spec, keys=init_keys)
    if not any(RunFolder(run.path).checkpoint_paths() for run in runs):
        agents = [warm_start(agent, config.init) for agent in agents]
    memory_estimate.check(config.share, spec, agents[0], path, saved=manifest)
    # Of all processes, or those without a signal would wait for the others.
    if received := [signal for signal in peers.gather(interrupts.received) if signal is not None]:
        raise Interrupted(f"{received[0]} came before the first step; nothing was changed.")

    archives = [
        Archive(RunFolder(run.path), config.checkpoint, console.speaker(run.label)) for run in runs
    ]
    checkpointer = enter(Checkpointer(archives, config.checkpoint.minutes, peers))
    description, counts = describe(config, spec, agents[0], path), parameter_counts(agents[0].model)
    starts = _starts(runs, supplies, agents, checkpointer, peers)
    for folder, own in settings.items():
        reached = starts[0].manifest["env_step"]
        if reached is not None and records[folder] is not None:
            check_length(folder, own, reached)
    for run, start in zip(runs, starts, strict=True):
        check_settings(run.path, run.config, start.manifest.get("settings", {}))
    for folder, own in settings.items():
        record_run(folder, own, records[folder], spec, counts, chosen)
    console.print(description)
    checkpointer.prepare()
    return _Opened(runs, supplies, archives, checkpointer, starts, loop_keys, console, interrupts)


def _console(config: Config, num_runs: int) -> RunConsole:
    ratio, num_envs = train_ratio(config), config.env.num_envs
    return RunConsole(
        config.env_steps,
        ratio.updates_due(-(-config.env_steps // num_envs) * num_envs),
        num_runs,
        first_env_step=ratio.first_env_step,
        pictures=config.env.observations != "vectors",
    )


def _assemble(
    config: Config,
    population: Population,
    opened: _Opened,
    peers: Peers,
    stack: contextlib.ExitStack,
) -> Loop:
    """Puts the parts of the runs together, as they begin or as their checkpoints have them."""
    enter, runs, console, starts = stack.enter_context, opened.runs, opened.console, opened.starts
    stopwatch = Stopwatch()
    members = [
        enter(_member(*own, console, stopwatch, opened.interrupts, peers))
        for own in zip(runs, opened.archives, starts, strict=True)
    ]
    state = population.placement.agents(population.stack([start.agent for start in starts]))
    keys = _LoopKeys(*_columns(jr.split(key, 3) for key in opened.loop_keys))
    programs, report_key = compiled(config, population), population.stack(keys.report)
    trainer = _trainer(config, population, opened, members, state, programs, peers, keys)
    loop = Loop(
        config,
        members,
        trainer,
        opened.checkpointer,
        enter(Profiler(runs[0].path / "profile", config.profile, console.print)),
        report=lambda state, batch: programs.report(state, batch, report_key),
        interrupts=opened.interrupts,
        peers=peers,
    )
    _begin(loop, starts, console)
    return loop


class _LoopKeys(NamedTuple):
    """Random keys of each run."""

    act: Sequence[PRNGKeyArray]
    update: Sequence[PRNGKeyArray]
    report: Sequence[PRNGKeyArray]


def _trainer(
    config: Config,
    population: Population,
    opened: _Opened,
    members: Sequence[Member],
    state: AgentState,
    programs: Programs,
    peers: Peers,
    keys: _LoopKeys,
) -> Trainer:
    """What collects and learns: on the device, on the host, or from what is stored."""
    supplies = opened.supplies
    if env := supplies[0].functional:
        return DeviceTrainer(
            config,
            population,
            members,
            state,
            env,
            act_keys=keys.act,
            update_keys=keys.update,
            env_keys=[jr.key(env_seed(collect_seed(member.config))) for member in members],
        )
    collector: Collector = OfflineCollector(members)
    if envs := [supply.envs for supply in supplies if supply.envs is not None]:
        collector = LiveCollector(
            population,
            members,
            envs,
            programs.act,
            state.model,
            keys=[_of_process(key, peers.index) for key in keys.act],
        )
    spec = supplies[0].spec
    learner = Learner(population, members, state, spec, programs.update, keys=keys.update)
    return HostTrainer(members, collector, learner, train_ratio(config))


class _Start(NamedTuple):
    """What a run begins with, or goes on from."""

    agent: AgentState
    replay: AbstractReplay
    loop: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] = {"env_step": None, "logs": {}}
    path: Path | None = None


def _starts(
    runs: Sequence[Run],
    supplies: Sequence[Supply],
    agents: Sequence[AgentState],
    checkpointer: Checkpointer,
    peers: Peers,
) -> list[_Start]:
    """Where the last checkpoint has every run, or its beginning."""
    makers = [
        functools.partial(
            make_replay, run.config.share, supply.spec, run.path / "replay", process=peers.index
        )
        for run, supply in zip(runs, supplies, strict=True)
    ]
    if saved := checkpointer.latest(agents[0], makers):
        return [_Start(s.agent, s.replay, s.loop, s.manifest, s.path) for s in saved]
    return [
        _Start(agent, supply.replay(make))
        for agent, supply, make in zip(agents, supplies, makers, strict=True)
    ]


@contextlib.contextmanager
def _member(
    run: Run,
    archive: Archive,
    start: _Start,
    console: RunConsole,
    stopwatch: Stopwatch,
    interrupts: Interrupts,
    peers: Peers,
) -> Iterator[Member]:
    """One of the runs, with its logs open and as long as its start."""
    folder, say = archive.folder, console.speaker(run.label)
    for sentence in folder.rewind(start.manifest["logs"]):
        say(sentence)
    sinks = make_sinks(
        tensorboard=run.config.log.tensorboard,
        wandb_project=run.config.log.wandb if peers.index == 0 else None,
        folder=folder.path,
        settings=to_dict(run.config),
        resumed_at=start.manifest["env_step"],
        warn=say,
    )
    evaluate = Evaluator(run.config, folder, interrupts, say, peers)
    predict = Predictor(run.config, folder, say)
    with Recorder(run.config, folder, console, stopwatch, sinks, run.label) as recorder:
        yield Member(
            run.config, folder, start.replay, archive, recorder, evaluate, predict, run.label
        )


def _begin(loop: Loop, starts: Sequence[_Start], console: RunConsole) -> None:
    """Sets the parts to where the runs begin, or go on."""
    states = [start.loop for start in starts if start.loop is not None]
    if states:
        try:
            loop.set_states(states, starts[0].manifest.get("stopwatch"))
        except (LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"{starts[0].path} does not hold the state of such a run: {error!r:.100}."
            ) from error
        env_step, paths = starts[0].manifest["env_step"], ", ".join(str(s.path) for s in starts)
        console.print(f"resumed     at env step {env_step:,} from {paths}")
    else:
        loop.begin()
    if loop.finished:
        console.print("the run is complete; more `--env_steps` make it longer")


def _columns(keys: Iterable[PRNGKeyArray]) -> Iterator[Sequence[PRNGKeyArray]]:
    """The first key of each row, then the second of each."""
    return zip(*keys, strict=True)


def _of_process(key: PRNGKeyArray, process: int) -> PRNGKeyArray:
    """The first process draws what a run alone would, each of the others something else."""
    return key if process == 0 else jr.fold_in(key, zlib.crc32(f"process{process}".encode()))
