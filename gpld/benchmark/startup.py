"""Time from the start of a process to the first update, without and with compiled programs."""

import dataclasses
import tempfile
from pathlib import Path

from ..config import Config
from ..config.train_ratio import train_ratio
from ..runs.console import FIRST_UPDATE
from .choices import describe
from .measure import measure, progress
from .process import train_until
from .report import Figure, Report


def benchmark_startup(config: Config, *, repetitions: int) -> Report:
    """Starts a run twice, first with an empty cache of compiled programs.

    Args:
        config: Settings.
        repetitions: How often it is started with the filled cache.

    Returns:
        The report: seconds until the run has made its first update, with all that comes
        before it: imports, environments, compilation and the env steps without updates.
    """
    starts = ["empty cache", *["filled cache"] * repetitions]
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, start in enumerate(starts):
            progress(f"starting with {start}")
            seconds[start].append(_start(config, folder / f"run{i}", folder / "cache"))
    settings = describe(config) | {
        "task": config.task,
        "env_steps_before": train_ratio(config).first_env_step,
        "repetitions": repetitions,
    }
    figures = {
        f"first update, {start}": Figure(sorted(times)[len(times) // 2], "s")
        for start, times in seconds.items()
    }
    figures["first update, filled cache, slowest"] = Figure(max(seconds["filled cache"]), "s")
    unit = measure({}, repetitions=repetitions)
    return Report("startup", settings, unit, figures)


def _start(config: Config, run: Path, cache: Path) -> float:
    """Seconds until the first update."""
    # Long enough to be stopped, short enough to take no memory.
    env_steps = train_ratio(config).first_env_step + 100 * config.env.num_envs
    config = dataclasses.replace(
        config, run=str(run), resume=None, offline=None, env_steps=env_steps
    )
    log = run.with_suffix(".log")

    def done() -> bool | None:
        return True if FIRST_UPDATE in log.read_text(encoding="utf-8", errors="replace") else None

    _, watched = train_until(config, done, log=log, JAX_COMPILATION_CACHE_DIR=str(cache))
    return watched.seconds
