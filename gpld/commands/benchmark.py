"""`scripts/benchmark.py`: measures, prints a table and writes JSON."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from ..benchmark.penalty import benchmark_penalty
from ..benchmark.replay import benchmark_replay
from ..benchmark.update import benchmark_update
from ..cli import choose_platform, one_line_errors, parse_config, parse_known
from ..errors import UsageError


@dataclasses.dataclass(frozen=True)
class BenchmarkArgs:
    """Measures what things cost, as ratios of one run.

    All flags of `scripts/train.py` choose what is measured; the default is the paper's
    setting.
    """

    what: tyro.conf.Positional[Literal["penalty", "update", "replay"]]
    """penalty: every estimator of the penalty by itself, literally and through the Gram
    identity. update: whole updates with and without the penalty. replay: sampling from it,
    refreshing, adding and saving."""

    repetitions: int = 5
    """How often everything is timed, in turn."""

    cores: int | None = None
    """Cores of the processor to use; None takes all. Linux only."""

    thorough: bool = False
    """Also measures what takes long: exact norms, or updates by the literal path."""

    steps: int = 5_000_000
    """Env steps in replay, for `replay`; fewer where they do not fit."""

    out: Path | None = None
    """File for the results as JSON; None only prints them."""

    def __post_init__(self):
        if self.repetitions < 1:
            raise ValueError(f"`repetitions` must be at least 1, got {self.repetitions}.")
        if self.cores is not None and self.cores < 1:
            raise ValueError(f"`cores` must be at least 1, got {self.cores}.")
        if self.steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {self.steps}.")


def main(args: Sequence[str] | None = None) -> None:
    """`scripts/benchmark.py`."""
    with one_line_errors():
        options, rest = parse_known(BenchmarkArgs, sys.argv[1:] if args is None else args)
        config = parse_config(rest)
        choose_platform(config.platform)
        if options.cores is not None:
            _use_cores(options.cores)
        progress = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        shared = {"repetitions": options.repetitions, "progress": progress}
        if options.what == "replay":
            storage = config.replay.storage
            report = benchmark_replay(config, steps=options.steps, storage=storage, **shared)
        else:
            benchmark = {"penalty": benchmark_penalty, "update": benchmark_update}[options.what]
            report = benchmark(config, thorough=options.thorough, **shared)
        print(report.table())
        if options.out is not None:
            report.save(options.out)


def _use_cores(count: int) -> None:
    """Restricts the process to some cores, before JAX makes as many threads as there are."""
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("`--cores` needs Linux.")
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise UsageError(f"`--cores` must be at most {len(allowed)} here, got {count}.")
    os.sched_setaffinity(0, allowed[-count:])
