"""Whole runs end to end, on the host and on the device, one after the other."""

import dataclasses
from collections.abc import Sequence

from ..config import Config
from ..errors import UsageError
from .choices import describe
from .measure import Progress, measure
from .report import UNIT, Figure, Report, spread
from .train import train_section


def benchmark_loop(
    config: Config,
    *,
    updates: int,
    seeds: Sequence[int],
    repetitions: int,
    progress: Progress,
) -> Report:
    """Trains with the loop on the host, and with that on the device for some numbers of seeds.

    Evaluations, reports and checkpoints count where the settings have them fall.

    Args:
        config: Settings of a run with `loop` device, such as those of the preset `mjx`.
        updates: Updates of each agent to measure, at least, after those that warm up.
        seeds: Numbers of seeds that are trained together.
        repetitions: How often the unit is timed, afterwards.
        progress: Is told what happens.

    Returns:
        The report: rates over the measured part of each run, of all seeds together.

    Raises:
        UsageError: If the settings are those of the loop on the host.
    """
    if config.loop != "device":
        raise UsageError(f"`loop` must be device, got {config.loop}; `--preset mjx` has it.")
    runs = {"host": dataclasses.replace(config, loop="host", seeds=1)}
    runs |= {_name(number): dataclasses.replace(config, seeds=number) for number in seeds}
    figures = {}
    for name, run in runs.items():
        progress(name)
        section, watched = train_section(run, updates, progress)
        rates = {
            "env steps per second": Figure(
                run.seeds * section.env_steps / section.seconds, "env steps / s"
            ),
            "updates per second": Figure(
                run.seeds * section.updates / section.seconds, "updates / s"
            ),
            "share of the device": Figure(section.shares.get("device", 0.0), "of the time"),
            "peak memory": Figure(watched.peak_bytes, "bytes"),
        }
        figures |= {f"{name}, {what}": figure for what, figure in rates.items()}
    unit = measure({}, repetitions=repetitions, progress=progress)
    figures["one unit"] = Figure(spread(unit[UNIT].seconds).median, "s")
    settings = describe(config) | {
        "task": config.task,
        "num_envs": config.env.num_envs,
        "updates_per_env_step": config.replay.updates_per_env_step,
        "updates": updates,
    }
    return Report("loop", settings, unit, figures)


def _name(seeds: int) -> str:
    return "device" if seeds == 1 else f"device, {seeds} seeds"
