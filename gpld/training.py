"""Runs from their settings: their parts are made, put together, and resumed where they were."""

import contextlib
import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.random as jr
from jaxtyping import PRNGKeyArray

from . import agent, footprint
from .agent import AgentState
from .announcement import describe
from .archive import Archive
from .checkpointer import Checkpointer
from .collection import Collector, LiveCollector, OfflineCollector
from .config import Config, to_dict
from .console import RunConsole
from .evaluator import Evaluator
from .experience import make_replay
from .interrupts import Interrupts
from .learning import Learner
from .loop import Loop
from .member import Member, Run, planned_runs
from .metrics import Stopwatch
from .models import parameter_counts
from .peers import Peers, find_peers
from .placement import choose_placement
from .population import Population, compiled, init_agents
from .recorder import Recorder
from .replay import Replay
from .run_folder import RunFolder
from .run_start import locked, open_run
from .sinks import make_sinks
from .supply import Supply, open_supply


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
        UsageError: If the folder holds something else, or the machine has too little memory or
            too few devices.
        MachineError: If files cannot be written, no checkpoint can be used, or numbers are
            not finite.
        WorkerError: If environments failed too often.
        Interrupted: If a signal ended the run, which was saved.
    """
    population, peers = Population(config.seeds, choose_placement(config)), find_peers()
    runs = planned_runs(config, path, peers.index)
    settings = {run.path: run.config for run in runs}
    if peers.index == 0:
        settings = {path: config, **settings}
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        for folder in settings:
            enter(locked(folder))
        supplies = [open_supply(run, len(runs), stack, peers.index) for run in runs]
        spec, manifest = supplies[0].spec, supplies[0].manifest
        init_keys, loop_keys = _columns(jr.split(jr.key(run.config.seed)) for run in runs)
        states = init_agents(config, spec, keys=init_keys)
        footprint.check(config.share, spec, states[0], path, saved=manifest)

        dtype, counts = str(agent.compute_dtype(config)), parameter_counts(states[0].model)
        parts = [
            run.path
            for i in range(config.distributed.processes)
            for run in planned_runs(config, path, i)
        ]
        for folder, own in settings.items():
            open_run(folder, own, spec, counts, dtype, parts=parts)
        console = enter(RunConsole(config.env_steps, len(runs)))
        console.print(describe(config, spec, states[0], path))
        interrupts = enter(Interrupts(console.print))
        archives = [
            Archive(RunFolder(run.path), config.checkpoint, console.speaker(run.label))
            for run in runs
        ]
        checkpointer = enter(Checkpointer(archives, config.checkpoint.minutes, peers))
        starts = _starts(runs, supplies, states, checkpointer, peers)
        stopwatch = Stopwatch()
        members = [
            enter(_member(*own, console, stopwatch, interrupts, peers))
            for own in zip(runs, archives, starts, strict=True)
        ]
        state = population.placement.agents(population.stack([start.agent for start in starts]))
        act_keys, update_keys, report_keys = _columns(jr.split(key, 3) for key in loop_keys)
        programs, report_key = compiled(config, population), population.stack(report_keys)
        collector: Collector = OfflineCollector(members)
        if envs := [supply.envs for supply in supplies if supply.envs is not None]:
            collector = LiveCollector(
                population,
                members,
                envs,
                programs.act,
                state.model,
                keys=[_of_process(key, peers.index) for key in act_keys],
            )
        loop = Loop(
            config,
            members,
            collector,
            Learner(population, members, state, spec, programs.update, keys=update_keys),
            checkpointer,
            report=lambda state, batch: programs.report(state, batch, report_key),
            interrupts=interrupts,
            peers=peers,
        )
        _begin(loop, collector, starts, console)
        del states, starts, state  # or the agents of the beginning stay in memory
        with peers.explained():
            loop.run()
    return RunFolder(path)


class _Start(NamedTuple):
    """What a run begins with, or goes on from."""

    agent: AgentState
    replay: Replay
    loop: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] = {"env_step": None, "logs": {}}
    path: Path | None = None


def _starts(
    runs: Sequence[Run],
    supplies: Sequence[Supply],
    states: Sequence[AgentState],
    checkpointer: Checkpointer,
    peers: Peers,
) -> list[_Start]:
    makers = [
        functools.partial(
            make_replay, run.config.share, supply.spec, run.path / "replay", process=peers.index
        )
        for run, supply in zip(runs, supplies, strict=True)
    ]
    if saved := checkpointer.latest(states[0], makers):
        return [_Start(s.agent, s.replay, s.loop, s.manifest, s.path) for s in saved]
    return [
        _Start(state, supply.replay(make))
        for state, supply, make in zip(states, supplies, makers, strict=True)
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
    folder, say = archive.folder, console.speaker(run.label)
    folder.rewind(start.manifest["logs"])
    sinks = make_sinks(
        tensorboard=run.config.log.tensorboard,
        wandb_project=run.config.log.wandb if peers.index == 0 else None,
        folder=folder.path,
        settings=to_dict(run.config),
        resumed_at=start.manifest["env_step"],
        warn=say,
    )
    evaluate = Evaluator(run.config, folder, interrupts, say, peers)
    with Recorder(run.config, folder, console, stopwatch, sinks, run.label) as recorder:
        yield Member(run.config, folder, start.replay, archive, recorder, evaluate, run.label)


def _begin(loop: Loop, collector: Collector, starts: Sequence[_Start], console: RunConsole) -> None:
    states = [start.loop for start in starts if start.loop is not None]
    if states:
        loop.set_states(states)
        env_step, paths = starts[0].manifest["env_step"], ", ".join(str(s.path) for s in starts)
        console.print(f"resumed     at env step {env_step:,} from {paths}")
    else:
        collector.begin()
    if loop.finished:
        console.print("the run is complete; more `--env_steps` make it longer")


def _columns(keys: Iterable[PRNGKeyArray]) -> Iterator[Sequence[PRNGKeyArray]]:
    """The first key of each row, then the second of each."""
    return zip(*keys, strict=True)


def _of_process(key: PRNGKeyArray, process: int) -> PRNGKeyArray:
    """The first process draws what a run alone would, each of the others something else."""
    return key if process == 0 else jr.fold_in(key, zlib.crc32(f"process{process}".encode()))
