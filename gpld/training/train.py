"""Build a run from its settings, resume it where it exists, and train."""

import contextlib
import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.random as jr
from jaxtyping import PRNGKeyArray

from ..agent import AgentState, choices
from ..checkpoints.retention import Archive, Start
from ..checkpoints.writer import Checkpointer
from ..config import Config
from ..envs import EnvSpec, check_same, env_seed, is_own, name_of, register
from ..errors import Interrupted, UsageError
from ..machine.signals import Interrupts
from ..models import parameter_counts
from ..parallel.devices import choose_placement
from ..parallel.hosts import Processes, find_processes
from ..parallel.seeds import SeedAxis
from ..runs.console import RunConsole, outlook
from ..runs.folder import RunFolder
from ..runs.metrics import Stopwatch
from ..runs.recorder import Recorder
from ..runs.sinks import make_sinks
from ..runs.start import (
    PlannedRun,
    check_checkpoint,
    check_run,
    describe_move,
    locked,
    planned_runs,
    record_run,
)
from . import memory_estimate
from .compile_ahead import CompiledAhead, update_arguments
from .device.trainer import DeviceTrainer
from .evaluator import Evaluator
from .experience import make_replay
from .host.collector import Collector
from .host.trainer import HostTrainer
from .loop import Loop
from .pictures import Pictures
from .profiling import Profiler
from .programs import init_agents, make_programs
from .seed_run import SeedRun
from .source import Source, check_own_env, collect_seed, open_source, take_over
from .stages import Stages
from .summary import describe
from .warm_start import absolute, warm_start


def train(config: Config, path: str | Path, *, env: Callable[..., Any] | None = None) -> RunFolder:
    """Train an agent and leave a run folder behind, or go on with the run in there.

    With several `seeds` there is an agent for each of them, with a run folder in `path`.
    SIGINT, SIGTERM or SIGHUP end it with a checkpoint: on the host after the update that is
    being made, on the device after the call of the program.

    Args:
        config: Settings.
        path: Folder of the run: new, empty, or that of a run with the same settings.
        env: Makes an environment of one's own, as for `gpld.register`, and is needed again
            whenever the run goes on. The run has its name as the task.

    Returns:
        The folder `path`; with several seeds it holds a run folder for each.

    Raises:
        ValueError: If the task is unknown or an argument of the environments is bad.
        UsageError: If the folder holds something else, networks to begin with do not fit,
            there would be no update, an environment of one's own breaks a rule that
            `gpld check-env` checks, or the machine has too little memory or too few devices.
        MachineError: If files cannot be written, no checkpoint can be used, or numbers are
            not finite.
        WorkerError: If environments failed too often.
        Interrupted: If a signal stopped the run, which is saved, or came before its first step.
    """
    path = Path(path)
    if env is not None:
        config = dataclasses.replace(config, task=name_of(env))
        register(config.task, env)
    if is_own(config.task):
        path = path.absolute()  # its code may change the working directory
    memory_estimate.check_settings(config, path)
    processes = find_processes()
    with processes.explained(), contextlib.ExitStack() as stack:
        _assemble(config, path, processes, stack).run()
    return RunFolder(path)


class _Opened(NamedTuple):
    """Runs whose folders are open and checked, and where they start from."""

    runs: Sequence[PlannedRun]
    sources: Sequence[Source]
    checkpointer: Checkpointer
    starts: Sequence[Start]
    loop_keys: Sequence[PRNGKeyArray]
    console: RunConsole
    interrupts: Interrupts


def _open(config: Config, path: Path, processes: Processes, stack: contextlib.ExitStack) -> _Opened:
    """Lock folders, start environments, find where the runs start from, write their records.

    Whatever keeps them from starting is found before any file is changed.
    """
    enter, runs = stack.enter_context, planned_runs(config, path, processes.index)
    settings = {run.path: run.config for run in runs}
    if processes.index == 0:
        settings = {path: config, **settings}
    for folder in settings:
        enter(locked(folder))
    chosen = choices(config)
    everywhere = (planned_runs(config, path, i) for i in range(config.distributed.processes))
    parts = [run.path for own in everywhere for run in own]
    records = {
        folder: check_run(folder, own, chosen.precision, parts=parts)
        for folder, own in settings.items()
    }
    console = enter(RunConsole(config, len(runs)))
    interrupts = enter(Interrupts(console.print, outlook))
    init = absolute(config.init)
    is_new = not any(records.values()) and processes.index == 0
    # In one program, what an environment returns is checked before it is compiled.
    stepped = not config.offline and config.env.backend != "mjx"
    if is_new and is_own(config.task) and stepped:
        check_own_env(config)
    sources = [open_source(run, len(runs), stack, processes.index) for run in runs]
    spec = sources[0].spec
    if records[runs[0].path] is not None:
        folder = RunFolder(runs[0].path)
        check_same(config.task, spec, "the run", folder.env_spec())
        if moved := describe_move(folder, config):
            console.print(f"moved       {moved}")
    _check_images(config, spec)
    if is_own(config.task):  # the sizes of all others are known
        memory_estimate.check_networks(config.share, spec)
    init_keys, loop_keys = zip(*(jr.split(jr.key(run.config.seed)) for run in runs), strict=True)
    agents = init_agents(config, spec, keys=init_keys)
    if not any(RunFolder(run.path).checkpoint_paths() for run in runs):
        agents = [warm_start(agent, init) for agent in agents]
    memory_estimate.check(config.share, spec, agents[0], path, saved=sources[0].manifest)
    # All processes stop, or those without a signal would wait for the others.
    if received := [signal for signal in processes.gather(interrupts.received) if signal]:
        raise Interrupted(f"{received[0]} came before the first step; nothing was changed.")

    archives = [
        Archive(RunFolder(run.path), config.checkpoint, console.speaker(run.label)) for run in runs
    ]
    checkpointer = enter(Checkpointer(archives, config.checkpoint.minutes, processes))
    description, counts = describe(config, spec, agents[0], path), parameter_counts(agents[0].model)
    starts = _find_starts(runs, sources, agents, checkpointer, processes)
    for run, start in zip(runs, starts, strict=True):
        if start.path is not None:
            check_checkpoint(run.path, run.config, start.manifest)
    for folder, own in settings.items():
        record_run(folder, own, records[folder], spec, counts, chosen)
    console.print(description)
    checkpointer.prepare()
    return _Opened(runs, sources, checkpointer, starts, loop_keys, console, interrupts)


def _check_images(config: Config, spec: EnvSpec) -> None:
    """Check that the convolutions can halve the images of an environment, or of data.

    Raises:
        UsageError: If they cannot; names a size that they can.
    """
    sizes = {array.shape[:2] for array in spec.observation.values() if len(array.shape) == 3}
    multiple = 2 ** len(config.model.channels)
    if len(sizes) > 1 or any(side % multiple for size in sizes for side in size):
        found = ", ".join(sorted(f"{height} x {width}" for height, width in sizes))
        near = max(1, round(min(map(min, sizes)) / multiple)) * multiple
        way = (
            f"`--env.image_size {near}` resizes them; what is no picture can be flattened, as "
            "gymnasium.wrappers.FlattenObservation does."
        )
        if config.offline:
            way = f"`gpld import-data --image_size {near}` resizes those of data."
        raise UsageError(
            f"The images of {config.task} must be equally large, with sides that are multiples of "
            f"{multiple}, got {found}; {way}"
        )


def _find_starts(
    runs: Sequence[PlannedRun],
    sources: Sequence[Source],
    agents: Sequence[AgentState],
    checkpointer: Checkpointer,
    processes: Processes,
) -> Sequence[Start]:
    """Find the last checkpoint of every run, or make a replay for its beginning."""
    makers = [
        functools.partial(
            make_replay, run.config.share, source.spec, run.path / "replay", process=processes.index
        )
        for run, source in zip(runs, sources, strict=True)
    ]
    if saved := checkpointer.latest(agents[0], makers):
        return saved
    starts = []
    for agent, source, make in zip(agents, sources, makers, strict=True):
        replay = make(source.manifest)
        if source.stored is not None and source.manifest is not None:
            take_over(source.stored, source.manifest, replay)
        starts.append(Start(agent, replay))
    return starts


def _assemble(
    config: Config, path: Path, processes: Processes, stack: contextlib.ExitStack
) -> Loop:
    """Put the parts of the runs together, and restore their state."""
    seeds = SeedAxis(config.seeds, choose_placement(config))
    # Not handed out: whoever kept it would keep the initial agents in memory.
    opened = _open(config, path, processes, stack)
    programs = make_programs(config, seeds)
    update = stack.enter_context(CompiledAhead(programs.update))
    starts, console, stopwatch = opened.starts, opened.console, Stopwatch()
    runs = [_seed_run(i, opened, stopwatch, processes, stack) for i in range(len(starts))]
    state = seeds.put(seeds.stack([start.agent for start in starts]))
    # Each run has a key for acting, one for updates and one for reports.
    keys_of_runs = (jr.split(key, 3) for key in opened.loop_keys)
    act_keys, update_keys, report_keys = zip(*keys_of_runs, strict=True)
    report_key = seeds.stack(report_keys)
    functional, spec = opened.sources[0].functional, opened.sources[0].spec
    if functional is not None:
        env_keys = [jr.key(env_seed(collect_seed(run.config))) for run in runs]
        all_keys = {"act_keys": act_keys, "update_keys": update_keys, "env_keys": env_keys}
        trainer = DeviceTrainer(config, seeds, runs, state, functional, **all_keys)
    else:
        collector = None
        if envs := [source.envs for source in opened.sources if source.envs is not None]:
            own_keys = [_process_key(key, processes.index) for key in act_keys]
            collector = Collector(seeds, runs, envs, programs.act, state.model, keys=own_keys)
        trainer = HostTrainer(seeds, runs, state, spec, update, collector, keys=update_keys)
    stages = Stages(
        config,
        runs,
        trainer,
        opened.checkpointer,
        report=lambda state, batch: programs.report(state, batch, report_key),
        interrupts=opened.interrupts,
        processes=processes,
    )
    profiler = Profiler(opened.runs[0].path / "profile", config.profile, console.print)
    loop = Loop(config, trainer, stages, stack.enter_context(profiler))
    if starts[0].loop is not None:
        loop.served = stages.resume(starts)
        paths = ", ".join(str(start.path) for start in starts)
        console.print(f"resumed     at env step {starts[0].manifest['env_step']:,} from {paths}")
    else:
        stages.save(loop.served)  # so that the run can be resumed whenever it ends
        stages.wait()
    if loop.finished:
        console.print("the run is complete; more `--env_steps` make it longer")
    elif config.loop == "host" and config.distributed.processes == 1:
        update.begin(*update_arguments(config, spec, seeds))
    return loop


def _seed_run(
    index: int,
    opened: _Opened,
    stopwatch: Stopwatch,
    processes: Processes,
    stack: contextlib.ExitStack,
) -> SeedRun:
    """Open the logs of one run, cut back to their length at the point that it starts from."""
    run, start = opened.runs[index], opened.starts[index]
    archive, say = opened.checkpointer.archives[index], opened.console.speaker(run.label)
    for sentence in archive.folder.rewind(start.manifest["logs"]):
        say(sentence)
    resumed_at, wandb = start.manifest["env_step"], processes.index == 0
    sinks = make_sinks(run.config, run.path, resumed_at=resumed_at, wandb=wandb, warn=say)
    recorder = Recorder(run.config, archive.folder, opened.console, stopwatch, sinks, run.label)
    return SeedRun(
        run.config,
        archive.folder,
        start.replay,
        archive,
        stack.enter_context(recorder),
        Evaluator(run.config, archive.folder, opened.interrupts, say, processes),
        Pictures(run.config, archive.folder, say),
        run.label,
    )


def _process_key(key: PRNGKeyArray, process: int) -> PRNGKeyArray:
    """Return the key of a process; the first keeps it, and so acts as a run of one process."""
    return key if process == 0 else jr.fold_in(key, zlib.crc32(f"process{process}".encode()))
