"""A whole run end to end: env steps per second, and what they are spent on."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ..config import Config
from ..config.train_ratio import train_ratio
from ..runs.folder import RunFolder
from ..runs.start import planned_runs
from .choices import describe
from .measure import measure, progress
from .process import Watched, train_until
from .report import UNIT, Figure, Report

# Updates that must be made before anything counts.
WARMUP = 2


class Section(NamedTuple):
    """A part of a run, between two lines of its metrics."""

    env_steps: int
    updates: int
    seconds: float
    shares: dict[str, float]
    """Of the time, by part of the loop."""


def benchmark_train(config: Config, *, updates: int, repetitions: int) -> Report:
    """Trains in a temporary folder, and takes what the run says about itself.

    Evaluations, reports and checkpoints count where the settings have them fall.

    Args:
        config: Settings.
        updates: Updates to measure, at least, after those that warm up.
        repetitions: How often the unit is timed, afterwards.

    Returns:
        The report: rates and shares over the measured part of the run.
    """
    section, watched = train_section(config, updates)
    unit = measure({}, repetitions=repetitions)
    per_update = section.seconds / section.updates
    figures = {
        "measured updates": Figure(section.updates, "updates"),
        "measured env steps": Figure(section.env_steps, "env steps"),
        "measured seconds": Figure(section.seconds, "s"),
        "env steps per second": Figure(section.env_steps / section.seconds, "env steps / s"),
        "updates per second": Figure(section.updates / section.seconds, "updates / s"),
        "time per update": Figure(per_update / unit[UNIT].median_seconds, "units"),
        **{f"share of {k}": Figure(v, "of the time") for k, v in section.shares.items()},
        "share of nothing named": Figure(1 - sum(section.shares.values()), "of the time"),
        "peak memory of the run": Figure(watched.peak_bytes, "bytes"),
    }
    settings = describe(config) | {
        "task": config.task,
        "num_envs": config.env.num_envs,
        "workers": config.env.workers,
        "updates_per_env_step": config.replay.updates_per_env_step,
        "updates": updates,
    }
    return Report("train", settings, unit, figures)


def train_section(config: Config, updates: int) -> tuple[Section, Watched]:
    """Trains in a temporary folder until enough updates were made.

    Args:
        config: Settings.
        updates: Updates to measure, at least, after those that warm up.

    Returns:
        The measured part of the run, or of that of the first seed; and how the process did.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        run = _settings(config, updates, folder)
        progress(f"training for {updates} updates after the first, {run.env_steps:,} env steps")
        first = planned_runs(run, folder)[0].path
        log = Path(name) / "log"
        return train_until(run, lambda: find_section(first, updates), log=log)


def find_section(folder: Path, updates: int) -> Section | None:
    """The lines of metrics after the first that follows the warm-up, once they are enough."""
    lines = RunFolder(folder).read("metrics") if folder.exists() else []
    lines = [line for line in lines if line["update"] >= WARMUP]
    for last in range(1, len(lines)):
        if lines[last]["update"] - lines[0]["update"] >= updates:
            return _section(lines[0], lines[1 : last + 1])
    return None


def _section(before: dict[str, Any], lines: list[dict[str, Any]]) -> Section:
    seconds = sum(line["time/seconds"] for line in lines)
    prefix, shares = "time/share/", {}
    for line in lines:
        for name, share in line.items():
            if name.startswith(prefix):
                part = name.removeprefix(prefix)
                shares[part] = shares.get(part, 0.0) + share * line["time/seconds"] / seconds
    end = lines[-1]
    env_steps, updates = (end[k] - before[k] for k in ("env_step", "update"))
    return Section(env_steps, updates, seconds, shares)


def _settings(config: Config, updates: int, folder: Path) -> Config:
    """A run that is long enough, with lines of metrics as often as they are needed."""
    ratio, num_envs = train_ratio(config), config.env.num_envs
    measured = int(updates / ratio.ratio) + num_envs
    every = min(config.log.every, measured)
    env_steps = ratio.first_env_step + int(WARMUP / ratio.ratio) + measured + 4 * (every + num_envs)
    return dataclasses.replace(
        config,
        run=str(folder),
        resume=None,
        offline=None,
        env_steps=env_steps,
        log=dataclasses.replace(config.log, every=every),
    )
