"""`scripts/benchmark.py`: measures, prints a table and writes JSON."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from .. import benchmark
from ..benchmark import Report
from ..cli import check_least, choose_platform, one_line_errors, parse_config, parse_known
from ..config import Config, Precision
from ..errors import MachineError, UsageError
from ..subprocesses import python_command, python_environment

# What is measured without a name: the standard set.
STANDARD = ("update", "penalty", "collect", "train", "startup")


@dataclasses.dataclass(frozen=True)
class BenchmarkArgs:
    """Measures what things cost, as ratios of one run.

    All flags of `scripts/train.py` choose what is measured; the default is the paper's
    setting.
    """

    what: tyro.conf.Positional[
        Literal[
            "all",
            "update",
            "penalty",
            "collect",
            "train",
            "startup",
            "table4",
            "replay",
            "plot",
        ]
    ]
    """update: whole updates without the penalty and with each estimator. penalty: every
    estimator by itself, literally and through the Gram identity. collect: environments and
    policy. train: a run end to end, and the share of each part. startup: time to the first
    update, with an empty and a filled cache of compiled programs. all, or nothing: these,
    each in a process of its own. table4: the rows of the paper's Table 4. replay: sampling
    from it, refreshing, adding and saving. plot: draws results of update and table4."""

    repetitions: int = 5
    """How often everything is timed, in turn."""

    precisions: tuple[Precision, ...] = ()
    """Precisions to compare in `update`, such as float32 mixed; none takes that of the
    settings, and for `all` these two."""

    updates: int = 32
    """Updates that `train` measures, at least."""

    cores: int | None = None
    """Cores of the processor to use; None takes all. Linux only."""

    thorough: bool = False
    """Also measures what takes long: exact norms, or updates by the literal path."""

    steps: int = 5_000_000
    """Env steps in replay, for `replay`; fewer where they do not fit."""

    results: Path = Path("benchmarks/cpu_1core")
    """Folder with the results that `plot` draws."""

    out: Path | None = None
    """File for the results as JSON; None only prints them. For `all` a folder, for `plot`
    the picture, which is docs/benchmarks.png for None."""

    def __post_init__(self):
        check_least(self, repetitions=1, updates=1, steps=1)
        if self.cores is not None:
            check_least(self, cores=1)


def main(args: Sequence[str] | None = None) -> None:
    """`scripts/benchmark.py`."""
    with one_line_errors():
        args = list(sys.argv[1:] if args is None else args)
        if not args or (args[0].startswith("-") and not {"-h", "--help"} & set(args)):
            args = ["all", *args]
        options, rest = parse_known(BenchmarkArgs, args)
        config = parse_config(rest)
        if options.what == "plot":
            benchmark.plot(options.results, options.out or Path("docs/benchmarks.png"))
            return
        if options.cores is not None:
            _use_cores(options.cores)
        if options.what == "all":
            _all(options, rest)
            return
        choose_platform(config.platform)
        report = _report(options, config)
        print(report.table())
        if options.out is not None:
            report.save(options.out)


def _report(options: BenchmarkArgs, config: Config) -> Report:
    """Measures what was asked for."""

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    shared = {"repetitions": options.repetitions, "progress": progress}
    match options.what:
        case "update":
            precisions, thorough = options.precisions, options.thorough
            return benchmark.benchmark_update(
                config, precisions=precisions, thorough=thorough, **shared
            )
        case "penalty":
            return benchmark.benchmark_penalty(config, thorough=options.thorough, **shared)
        case "train":
            return benchmark.benchmark_train(config, updates=options.updates, **shared)
        case "replay":
            storage = config.replay.storage
            return benchmark.benchmark_replay(
                config, steps=options.steps, storage=storage, **shared
            )
        case "collect":
            return benchmark.benchmark_collect(config, **shared)
        case "startup":
            return benchmark.benchmark_startup(config, **shared)
        case _:
            return benchmark.benchmark_table4(config, **shared)


def _all(options: BenchmarkArgs, rest: Sequence[str]) -> None:
    """Measures the standard set, each in a process of its own, whose memory is its own too."""
    flags = [f"--repetitions={options.repetitions}", f"--updates={options.updates}", *rest]
    flags += ["--thorough"] * options.thorough
    flags += ["--precisions", *(options.precisions or ("float32", "mixed"))]
    code = "from gpld.commands.benchmark import main; main()"
    for name in STANDARD:
        print(f"\n{name}", flush=True)
        out = [] if options.out is None else [f"--out={options.out / name}.json"]
        command = [*python_command(code), name, *out, *flags]
        if subprocess.run(command, env=python_environment(), check=False).returncode:
            raise MachineError(f"`{name}` could not be measured.")


def _use_cores(count: int) -> None:
    """Restricts the process to some cores, before JAX makes as many threads as there are."""
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("`--cores` needs Linux.")
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise UsageError(f"`--cores` must be at most {len(allowed)} here, got {count}.")
    os.sched_setaffinity(0, allowed[-count:])
