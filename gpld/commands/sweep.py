"""The command `sweep`: runs a grid of tasks, arms and seeds, then writes a report."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..cli import one_line_errors
from ..config.checks import at_least, check_fields
from ..config.flags import parse
from ..errors import MachineError, UsageError
from ..machine.output import show  # unlike `print`, goes on where nobody reads
from ..sweep import Job, Sweep, plan, read_sweep
from ..sweep.forecast import predict
from ..sweep.job import record
from ..sweep.local import run_local
from ..sweep.slurm import SlurmOptions, in_queue, submit, wait
from .plot import PlotArgs, compare


@dataclasses.dataclass(frozen=True, kw_only=True)
class HowToRun:
    """Options of where the jobs of a sweep run, and how many at a time."""

    dry_run: bool = False
    """Only shows what there is to do and how long it will probably take."""

    processes: Annotated[int, at_least(1)] = 1
    """Programs that run at a time on this machine, which share its cores."""

    gpus: tuple[str, ...] = ()
    """GPUs that they share, by CUDA's numbers; none leaves the choice to JAX."""

    like: Path | None = None
    """Run whose speed predicts the hours; None takes those of the sweep's own runs."""

    where: Literal["here", "slurm"] = "here"
    """here: on this machine. slurm: as an array of jobs, submitted from here."""

    wait: bool = False
    """Whether to wait for the jobs on SLURM, and tell which failed."""

    slurm: SlurmOptions = SlurmOptions()

    def __post_init__(self):
        check_fields(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepArgs(HowToRun):
    """Train every arm on every task with every seed, then write a report.

    The same command does what is missing.
    """

    file: tyro.conf.Positional[Path]
    """What the sweep is, as TOML or Python (docs/howto/compare.md)."""

    out: Path | None = None
    """Folder of the sweep; None takes `runs/` and the file's name."""


def main(args: Sequence[str] | None = None) -> None:
    """Run what is missing of the sweep that the arguments name, then write its report."""
    with one_line_errors():
        options: SweepArgs = parse(SweepArgs, sys.argv[1:] if args is None else args)
        root = Path("runs") / options.file.stem if options.out is None else options.out
        sweep = read_sweep(options.file)
        run(sweep, root, options)
        if not options.dry_run:
            _report(sweep, root, title=options.file.stem)


def run(sweep: Sweep, root: Path, options: HowToRun) -> None:
    """Run what is missing of a sweep, and say what failed.

    Args:
        sweep: The sweep.
        root: Its folder.
        options: How it is run.

    Raises:
        UsageError: If the sweep is not understood, or does not belong into its folder.
        MachineError: If jobs failed.
        Interrupted: If a signal came.
    """
    jobs = plan(sweep, root)
    left = [job for job in jobs if not job.finished]
    if options.dry_run:
        show("\n".join(_describe(jobs, options)))
        return
    record(sweep, root)
    show(f"{len(jobs) - len(left)} of {len(jobs)} jobs are finished, {len(left)} are left")
    for job in left:
        if job.failure.exists():
            show(f"before, {job.failure.read_text(encoding='utf-8').rstrip()}")
    if not left:
        return
    if options.where == "here":
        several = [job.name for job in left if job.config.distributed.processes > 1]
        if several:
            raise UsageError(
                f"`distributed.processes` must be 1 here, and is not for {several[0]}; "
                "`--where slurm` starts several."
            )
        failures = run_local(left, processes=options.processes, gpus=options.gpus, say=show)
    else:
        failures = _run_on_slurm(left, root, options)
    if failures:
        show("\n".join(failures))
        raise MachineError(f"{len(failures)} of {len(left)} jobs failed, as listed above.")


def _report(sweep: Sweep, root: Path, *, title: str) -> None:
    """Write a report of a finished sweep into its folder; say how to, if jobs are left on SLURM."""
    source = "checkpoints" if sweep.evaluation_episodes else "training"
    plot = PlotArgs(runs=(root,), out=root / "report", source=source)
    flags = [str(root), "--out", str(plot.out), "--source", source]
    command = f"gpld plot {shlex.join(flags)}"
    if not all(job.finished for job in plan(sweep, root)):
        show(f"`{command}` writes a report once the jobs have ended")
        return
    try:
        compare(plot, title=title)
    except Exception as error:  # whatever it is: the runs, which took the time, are there
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        show(f"no report: {reason}\n`{command}` tries again")
        return
    show(f"look at it in a browser: {plot.out / 'report.html'}")


def _run_on_slurm(jobs: Sequence[Job], root: Path, options: HowToRun) -> list[str]:
    """Submit the jobs that are not in the queue."""
    there = in_queue(jobs, root)
    for name, number in there.items():
        show(f"{name}: is job {number} already")
    jobs = [job for job in jobs if job.name not in there]
    submitted = submit(jobs, root, options.slurm) if jobs else []
    for job, own in zip(jobs, submitted, strict=True):
        show(f"{job.name}: submitted as job {own.job_id}, log in {job.log}")
    return wait(jobs, submitted) if options.wait else []


def _describe(jobs: Sequence[Job], options: HowToRun) -> list[str]:
    """Return a line for each job, with its command, and the hours of all."""
    left = [job for job in jobs if not job.finished]
    hours = predict(jobs, options.like)
    lines = []
    for job in jobs:
        state = "begun" if any((run / "config.json").exists() for run in job.runs) else "new"
        state = "failed" if job.failure.exists() else state
        if job in left:
            time = f"{hours[job.name]:.2f} h" if job.name in hours else "unknown time"
            lines.append(f"{job.name}: {state}, {job.env_steps_left:,} env steps left, {time}")
            lines.append(f"    python scripts/train.py {shlex.join(job.flags)}")
        else:
            lines.append(f"{job.name}: finished")
    total = sum(hours[job.name] for job in left if job.name in hours)
    unknown = sum(job.name not in hours for job in left)
    summary = f"{len(left)} of {len(jobs)} jobs are left"
    reason = "no run tells their speed yet; `--like RUN` names one"
    if unknown == len(left) > 0:
        lines.append(f"{summary}; how long they take is unknown: {reason}")
        return lines
    lines.append(
        f"{summary}: {total:.2f} h, {total / options.processes:.2f} h with {options.processes} "
        "at a time as fast as alone"
    )
    if unknown:
        lines.append(f"{unknown} of these are not in it: {reason}")
    return lines
