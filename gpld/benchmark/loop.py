"""Whole runs end to end, on the host and on the device, one after the other."""

import dataclasses
from collections.abc import Sequence

from ..config import Config
from ..errors import UsageError
from .choices import describe
from .measure import measure, progress
from .report import UNIT, Figure, Report
from .train import train_section


def benchmark_loop(
    config: Config, *, updates: int, seeds_at_once: Sequence[int], repetitions: int
) -> Report:
    """Trains with the loop on the host, and with that on the device for some numbers of seeds.

    Evaluations, reports and checkpoints count where the settings have them fall.

    Args:
        config: Settings of a run with `loop` device, such as those of the preset `mjx`.
        updates: Updates of each agent to measure, at least, after those that warm up.
        seeds_at_once: Numbers of seeds that are trained together.
        repetitions: How often the unit is timed, afterwards.

    Returns:
        The report: rates over the measured part of each run, of all seeds together.

    Raises:
        UsageError: If the settings are those of the loop on the host.
    """
    if config.loop != "device":
        raise UsageError(f"`loop` must be device, got {config.loop}; `--preset mjx` has it.")
    runs = {"host": dataclasses.replace(config, loop="host", seeds=1)}
    for number in seeds_at_once:
        name = "device" if number == 1 else f"device, {number} seeds"
        runs[name] = dataclasses.replace(config, seeds=number)
    figures = {}
    for name, run in runs.items():
        progress(name)
        section, watched = train_section(run, updates)
        seconds = section.seconds / run.seeds
        share = section.shares.get("device", 0.0)
        figures |= {
            f"{name}, env steps per second": Figure(section.env_steps / seconds, "env steps / s"),
            f"{name}, updates per second": Figure(section.updates / seconds, "updates / s"),
            f"{name}, share of the device": Figure(share, "of the time"),
            f"{name}, peak memory": Figure(watched.peak_bytes, "bytes"),
        }
    unit = measure({}, repetitions=repetitions)
    figures["one unit"] = Figure(unit[UNIT].median_seconds, "s")
    settings = describe(config) | {
        "task": config.task,
        "num_envs": config.env.num_envs,
        "updates_per_env_step": config.replay.updates_per_env_step,
        "updates": updates,
    }
    return Report("loop", settings, unit, figures)
