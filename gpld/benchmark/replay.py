"""Cost of the replay: sampling, refreshing, adding, saving, and saving beside the others."""

import shutil
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from ..config import Config
from ..envs import make_env
from ..machine.memory import available_memory
from ..replay import Replay, ReplayStore, Sample
from ..training.experience import step_specs
from .choices import describe
from .measure import mean_seconds, measure, progress
from .report import Figure, Measurement, Report
from .update import update_cases

BASELINE = "update"
LATENTS = ("latent/deter", "latent/classes")

# Updates before anything is timed, after which the system keeps in memory what is used
# most; calls that a time is the mean of; updates between two saves.
WARMUP = 3000
CALLS = 100
UPDATES = 10


def benchmark_replay(config: Config, *, repetitions: int, steps: int) -> Report:
    """Times what training asks of a replay with steps of quadruped_walk.

    Args:
        config: Settings: where the replay is, among others.
        repetitions: How often everything is timed.
        steps: Env steps in the replay; fewer if there is no room for them.

    Returns:
        The report; ratios refer to an update.
    """
    cases = update_cases({BASELINE: (config, BASELINE)})
    measurements = measure(cases, repetitions=repetitions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        workload = _Workload(config, steps, path)
        workload.train(WARMUP)
        seconds: dict[str, list[float]] = defaultdict(list)
        for repetition in range(repetitions + 1):
            progress(f"round {repetition} of {repetitions}" + (" (not timed)" * (repetition == 0)))
            for name, value in (workload.calls() | workload.saves(path / "saved")).items():
                if repetition > 0:
                    seconds[name].append(value)
    settings = describe(config) | {
        "steps": workload.steps,
        "storage": config.replay.storage,
        "streams": config.env.num_envs,
        "windows": [config.replay.batch_size, config.replay.batch_length + 1],
        "step_bytes": workload.replay.nbytes // workload.steps,
        "repetitions": repetitions,
    }
    measurements |= {name: Measurement(values, BASELINE) for name, values in seconds.items()}
    figures = {name: Figure(size, "bytes") for name, size in workload.saved_bytes.items()}
    return Report("replay", settings, measurements, figures)


class _Workload:
    """A full replay, and what training does with it."""

    def __init__(self, config: Config, steps: int, folder: Path):
        """Fill a replay with at most `steps` steps, in memory or in a folder."""
        storage = config.replay.storage
        specs = step_specs(config, make_env("quadruped_walk", seed=0).spec)
        step_bytes = sum(spec.nbytes for spec in specs.values())
        free = shutil.disk_usage(folder).free
        # On disk it is there twice, once saved; in memory, half is left for everything else.
        room = free // 3 if storage == "disk" else min(free, available_memory() // 2)
        streams, window = config.env.num_envs, config.replay.batch_length + 1
        per_stream = max(window, min(steps, room // step_bytes) // streams)
        self.steps = per_stream * streams
        gib = self.steps * step_bytes / 2**30
        limit = "" if self.steps >= steps - streams else f", as there is no room for {steps:,}"
        progress(f"filling {storage} with {self.steps:,} steps, {gib:.1f} GiB{limit}")
        self.replay = Replay(
            specs,
            num_streams=streams,
            window=window,
            capacity=self.steps,
            max_steps=per_stream,
            mutable=LATENTS,
            online=False,
            folder=folder if storage == "disk" else None,
        )
        self.saved_bytes: dict[str, int] = {}
        self._batch = config.replay.batch_size
        rng = np.random.default_rng(0)

        def noise(name: str, *axes: int) -> np.ndarray:
            shape = (*axes, *specs[name].shape)
            return rng.random(shape, np.float32).astype(specs[name].dtype)

        self._step = {name: noise(name, streams) for name in specs}
        self._latents = {name: noise(name, self._batch, window - 1) for name in LATENTS}
        for _ in range(per_stream):
            self._add()

    def train(self, updates: int) -> None:
        """Samples and refreshes."""
        for _ in range(updates):
            self._refresh(self._sample())

    def calls(self) -> dict[str, float]:
        """Mean seconds of each call."""
        samples = [self._sample() for _ in range(CALLS)]
        refreshes = iter(samples)
        return {
            "sample": mean_seconds(lambda: self.replay.sample(self._batch), CALLS),
            "sample, latents of the context": mean_seconds(self._sample, CALLS),
            "refresh": mean_seconds(lambda: self._refresh(next(refreshes)), CALLS),
            "add": mean_seconds(self._add, CALLS),
        }

    def saves(self, folder: Path) -> dict[str, float]:
        """Seconds of saving everything, then what changed, then all while training goes on."""
        store, again = ReplayStore(folder), f"save after {UPDATES} updates"
        seconds = {"save": mean_seconds(store.snapshot(self.replay).write)}
        self.saved_bytes = {"save": _size(folder)}
        self.train(UPDATES)
        seconds[again] = mean_seconds(store.snapshot(self.replay).write)
        self.saved_bytes[again] = _size(folder) - self.saved_bytes["save"]
        shutil.rmtree(folder)
        began = time.perf_counter()
        snapshot = ReplayStore(folder).snapshot(self.replay)
        seconds["snapshot"] = time.perf_counter() - began
        writer = threading.Thread(target=snapshot.write)
        calls: dict[str, list[float]] = defaultdict(list)
        began = time.perf_counter()
        writer.start()
        while writer.is_alive():
            sample = self._sample()
            calls["refresh"].append(mean_seconds(lambda: self._refresh(sample)))  # noqa: B023
            calls["add"].append(mean_seconds(self._add))
        seconds["save while training"] = time.perf_counter() - began
        for name, values in calls.items():
            seconds[f"{name} while saving"] = float(np.mean(values))
            seconds[f"{name} while saving, slowest"] = max(values)
        shutil.rmtree(folder)
        return seconds

    def _sample(self) -> Sample:
        return self.replay.sample(self._batch, context_only=LATENTS)

    def _refresh(self, sample: Sample) -> None:
        self.replay.refresh(sample, self._latents)

    def _add(self) -> None:
        self.replay.add(self._step)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
