"""The command `benchmark`: measures, prints a table and writes JSON."""

import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from ..cli import choose_platform, one_line_errors, parse_config
from ..config import Config, Precision
from ..config.checks import at_least, check_fields, each_at_least
from ..config.flags import parse_known
from ..errors import MachineError, UsageError
from ..machine.files import check_file
from ..machine.malloc import keep_freed_memory
from ..machine.subprocesses import python_command, python_environment

_Standard = Literal["update", "penalty", "collect", "train", "startup"]
_Others = Literal["loop", "table4", "replay", "env", "adapters"]
_Gpu = Literal["gpu-program", "gpu-simulation"]

_GPU_ROWS = {"gpu-program": "setting_rows", "gpu-simulation": "simulation_rows"}

# Options of each benchmark, beside the repetitions.
_OPTIONS = {
    "update": ("precisions", "thorough"),
    "penalty": ("thorough",),
    "train": ("updates",),
    "loop": ("updates", "seeds_at_once"),
    "replay": ("steps",),
    "env": ("tasks", "batch_sizes"),
}


@dataclasses.dataclass(frozen=True)
class BenchmarkArgs:
    """Measure what things cost, as ratios of one run.

    All flags of `scripts/train.py` choose what is measured; the default is the paper's
    setting.
    """

    what: tyro.conf.Positional[Literal["all", _Standard, _Others, _Gpu, "plot"]]
    """update: whole updates without the penalty and with each estimator. penalty: every
    estimator by itself, literally and through the Gram identity. collect: environments and
    policy. train: a run end to end, and the share of each part. loop: runs end to end on the
    host and on the device, and several seeds there, one after the other. startup: time to the first
    update, with an empty and a filled cache of compiled programs. all, or nothing: these,
    each in a process of its own. table4: the rows of the paper's Table 4. replay: sampling
    from it, refreshing, adding and saving. env: control steps per second of the engines and
    seconds that MJX compiles. adapters: what they add to a step of an environment of Gymnasium or
    dm_env. plot: draws results of update and table4. gpu-program: launches and memory of the
    programs of an NVIDIA GPU, which need not be there, in a fixed matrix of settings; JAX's CUDA
    plugin must be installed. gpu-simulation: the same of a control step, for
    every task that MJX simulates."""

    repetitions: Annotated[int, at_least(1)] = 5
    """How often everything is timed, in turn."""

    precisions: tuple[Precision, ...] = ()
    """Precisions to compare in `update`, such as float32 mixed; none takes that of the
    settings, and for `all` these two."""

    updates: Annotated[int, at_least(1)] = 32
    """Updates that `train` measures, at least."""

    seeds_at_once: Annotated[tuple[int, ...], each_at_least(1)] = (1, 2, 3, 4, 5)
    """Numbers of seeds that `loop` trains together on the device."""

    cores: Annotated[int | None, at_least(1)] = None
    """Cores of the processor to use; None takes all. Linux only."""

    thorough: bool = False
    """Also measures what takes long: exact norms, or updates by the literal path."""

    steps: Annotated[int, at_least(1)] = 5_000_000
    """Env steps in replay, for `replay`; fewer where they do not fit."""

    tasks: tuple[str, ...] = ("cartpole_swingup", "walker_walk", "quadruped_run")
    """Tasks that `env` measures."""

    batch_sizes: Annotated[tuple[int, ...], each_at_least(1)] = (1, 16, 128, 1024, 8192)
    """Environments that MJX steps together, for `env`; those after one that takes seconds for
    each step are left out."""

    rows: tuple[str, ...] = ()
    """Rows that `gpu-program` or `gpu-simulation` compiles, by name; none takes all, which takes
    hours. Each is written as soon as it is compiled; others that the file has stay."""

    results: Path = Path("benchmarks/epyc_1core")
    """Folder with the results that `plot` draws."""

    out: Path | None = None
    """File for the results, NAME.json, or a folder for files named after the benchmarks; None
    only prints them. For `plot` the picture, which is docs/benchmarks.png for None."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str] | None = None) -> None:
    """Measure what the arguments name, and print it."""
    with one_line_errors():
        args = list(sys.argv[1:] if args is None else args)
        if not args or (args[0].startswith("-") and not {"-h", "--help"} & set(args)):
            args = ["all", *args]
        options, rest = parse_known(BenchmarkArgs, args)
        config = parse_config(rest)
        if rest and options.what in ("plot", *_GPU_ROWS):
            raise UsageError(
                f"`{options.what}` takes no settings of training, got {rest[0]}"
                + ("; `--rows` chooses those of the matrix." if options.what != "plot" else ".")
            )
        if options.what == "plot":
            from ..benchmark.plot import plot

            plot(options.results, options.out or Path("docs/benchmarks.png"))
            return
        if options.cores is not None:
            _use_cores(options.cores)
        if options.what == "all":
            _all(options, rest)
            return
        file = options.out
        if file is not None:
            if file.suffix != ".json" or file.is_dir():
                file /= f"{options.what}.json"
            check_file(file)
        # GPU programs are compiled in processes of their own, which need no GPU.
        platform = "cpu" if options.what in _GPU_ROWS else config.platform
        choose_platform(platform, deterministic=config.deterministic)
        keep_freed_memory()  # as training does
        if options.what in _GPU_ROWS:
            from ..benchmark import gpu

            rows = getattr(gpu, _GPU_ROWS[options.what])()
            print(gpu.compile_matrix(options.what, rows, options.rows, file))
            return
        report = _report(options, config)
        print(report.table())
        if file is not None:
            report.save(file)


def _report(options: BenchmarkArgs, config: Config) -> Any:
    """Measure what was asked for, and return its `Report`."""
    names = ("repetitions", *_OPTIONS.get(options.what, ()))
    # Imported here: some of them take seconds, and `--help` needs none.
    module = importlib.import_module(f"..benchmark.{options.what}", __package__)
    function = getattr(module, f"benchmark_{options.what}")
    return function(config, **{name: getattr(options, name) for name in names})


def _all(options: BenchmarkArgs, rest: Sequence[str]) -> None:
    """Measure the standard set, each in a process of its own, whose memory is its own too."""
    flags = [f"--repetitions={options.repetitions}", f"--updates={options.updates}", *rest]
    flags += ["--thorough"] * options.thorough
    flags += ["--precisions", *(options.precisions or ("float32", "mixed"))]
    code = "from gpld.commands.benchmark import main; main()"
    for name in get_args(_Standard):
        print(f"\n{name}", flush=True)
        out = [] if options.out is None else [f"--out={options.out / name}.json"]
        command = [*python_command(code), name, *out, *flags]
        if subprocess.run(command, env=python_environment(), check=False).returncode:
            raise MachineError(f"`{name}` could not be measured.")


def _use_cores(count: int) -> None:
    """Restrict the process to some cores, before JAX makes as many threads as there are."""
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("`--cores` needs Linux.")
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise UsageError(f"`--cores` must be at most {len(allowed)} here, got {count}.")
    os.sched_setaffinity(0, allowed[-count:])
