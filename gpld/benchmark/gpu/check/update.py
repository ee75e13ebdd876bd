"""Time of whole updates on this device, beside the launches that were counted without one."""

import concurrent.futures
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr

from .... import agent
from ....config import Config
from ....config.flags import parse_settings
from ....errors import MachineError
from ....parallel.seeds import SeedAxis
from ....training.programs import make_programs
from ....xla.cache import cache_compilations
from ...measure import Case, measure
from ...report import UNIT
from ...update import ACTION_SIZE, observation_shapes, random_batch
from ..launches import Launches, count_launches
from ..matrix import MATRIX
from ..rows import setting_rows
from .part import Row, Task

# Share of the time after which no program is waited for any more.
_COMPILING = 0.7

# Beside those of the matrix.
_ROWS = {
    "5 seeds joint": ("--seeds", "5", "--gpld.estimator", "joint"),
    "5 seeds dreamerv3": ("--seeds", "5", "--preset", "dreamerv3"),
}


class Update(NamedTuple):
    """A compiled update, with what it takes."""

    run: Callable[[], Any]
    compile_seconds: float
    compiled: jax.stages.Compiled


def updates(task: Task) -> Iterator[Row]:
    """Yield launches and memory of every update as it is compiled, then the time of each.

    They are compiled side by side, and run in turn once all are there.

    Raises:
        MachineError: If some were not compiled, after the others were timed.
    """
    yield from _time(task, task.sizes.updates)


def paper_update(task: Task) -> Iterator[Row]:
    """Yield the same of the paper's setting alone, for a process with other options of XLA."""
    yield from _time(task, ("paper",))


def flags_of(name: str) -> tuple[str, ...]:
    """Return the flags of an update by its name, which is that of the matrix where it is there."""
    return (_ROWS | {row.name: row.flags for row in setting_rows()})[name]


def compile_update(config: Config) -> Update:
    """Compile the update of a run on random data in the shapes of walker_walk."""
    axis, shapes = SeedAxis(config.seeds), observation_shapes(config)
    init = eqx.filter_jit(agent.init)
    states = [init(config, shapes, ACTION_SIZE, key=jr.key(i)) for i in range(axis.size)]
    batch = axis.stack([random_batch(config)] * axis.size)
    args = axis.stack(states), batch, axis.stack([jr.key(0)] * axis.size)
    began = time.perf_counter()
    compiled = make_programs(config, axis).update.lower(*args).compile()
    return Update(lambda: compiled(*args), time.perf_counter() - began, compiled)


def _time(task: Task, names: tuple[str, ...]) -> Iterator[Row]:
    sizes = task.sizes
    cache_compilations()
    configs = {name: parse_settings([*sizes.update, *flags_of(name)]) for name in names}
    described, found = _matrix(), {}
    pool = concurrent.futures.ThreadPoolExecutor(len(names))
    futures = {pool.submit(compile_update, config): name for name, config in configs.items()}
    patience = _COMPILING * task.seconds
    try:
        for future in concurrent.futures.as_completed(futures, timeout=patience):
            name = futures[future]
            try:
                update = future.result()
            except Exception as error:  # one that does not compile must not hide the others
                yield name, {"error": _line(error)}
                continue
            found[name] = update
            yield name, _facts(update, described.get(name, {}))
    except TimeoutError:
        for future, name in futures.items():
            if not future.done():
                yield name, {"error": f"was not compiled within {patience:.0f} s"}
    pool.shutdown(wait=False, cancel_futures=True)
    cases = {
        name: Case(found[name].run, None, calls=sizes.calls) for name in names if name in found
    }
    measured = measure(cases, repetitions=sizes.rounds)
    for name, measurement in measured.items():
        figures = {"ms": 1e3 * measurement.median_seconds}
        figures["slowest ms"] = 1e3 * max(measurement.seconds)
        if name != UNIT and (launches := _launches(found[name])) is not None:
            figures["us per launch"] = 1e6 * measurement.median_seconds / launches.total
        if name != UNIT and configs[name].seeds > 1:
            figures["ms per seed"] = figures["ms"] / configs[name].seeds
        yield name, figures
    if missing := [name for name in names if name not in found]:
        raise MachineError(f"Of the updates these were not compiled: {', '.join(missing)}.")


def _facts(update: Update, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the compiler says, beside what it said of the described card."""
    launches, memory = _launches(update), update.compiled.memory_analysis()
    temporaries = None if memory is None else memory.temp_size_in_bytes / 2**20
    known = described.get("temporaries")
    return {
        "launches": None if launches is None else launches.total,
        "described": described.get("launches"),
        "temp. MiB": temporaries,
        "described MiB": None if known is None else known / 2**20,
        "compile s": update.compile_seconds,
    }


def _launches(update: Update) -> Launches | None:
    """Count the launches; None where a program that was read from the cache has no text."""
    text = update.compiled.as_text()
    return count_launches(text) if text else None


def _matrix() -> dict[str, Any]:
    """Return the rows of the matrix; none outside of a checkout."""
    return json.loads(MATRIX.read_text())["rows"] if MATRIX.exists() else {}


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
