"""Import of episodes into a folder that `--offline` accepts."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from ..envs import EnvSpec
from ..errors import UsageError
from ..machine.files import check_folder, writing
from ..machine.output import one_line, show
from ..replay import Replay, ReplayStore, StepSpec
from ..units import count
from .episode import Episode, Layout, Refused, convert
from .folder import DataFolder, files_of


@runtime_checkable
class Source(Protocol):
    """Episodes that others have recorded."""

    @property
    def task(self) -> str:
        """Name of the task, where the user gives none."""
        ...

    def max_steps(self) -> int:
        """Count the env steps at most: an observation more than actions for each episode."""
        ...

    def episodes(self) -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield the name of each episode, and a function that reads it or raises `Refused`."""
        ...


class _Range(NamedTuple):
    """Smallest and largest number of an array so far."""

    low: float
    high: float

    def __or__(self, other: "_Range") -> "_Range":
        return _Range(min(self.low, other.low), max(self.high, other.high))


class Imported(NamedTuple):
    """Result of an import."""

    data: DataFolder
    returns: list[float]
    """Sum of rewards of every episode."""

    lengths: list[int]
    """Actions of every episode."""

    refused: int
    """Episodes that could not be used."""

    ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest number of each observation, of actions as they came, of rewards."""

    def describe(self) -> str:
        """Summarise in a few lines what was imported."""
        spec, num = self.data.spec, len(self.returns)
        steps = self.data.manifest["state"]["num_added"]
        lines = {
            "task": f"{self.data.task}: "
            f"{count(spec.action_size, 'discrete action' if spec.discrete else 'action')}",
            "episodes": f"{num:,}; {self.refused:,} refused",
            "steps": f"{steps:,}: {steps - num:,} actions, and what each episode ended with",
            "lengths": _statistics(self.lengths),
            "returns": _statistics(self.returns),
        }
        for name, (low, high) in self.ranges.items():
            array = spec.stored[name]
            shape = " x ".join(map(str, array.shape)) or "1"
            lines[name] = f"{shape} {array.dtype}, from {low:g} to {high:g}"
        if not spec.discrete:
            lines["action"] += ", scaled to [-1, 1]"
        width = max(map(len, lines)) + 2
        return "\n".join(one_line(f"{name:{width}}{text}") for name, text in lines.items())


def import_episodes(
    source: Source,
    path: Path,
    *,
    task: str | None = None,
    action_repeat: int = 1,
    image_size: int | None = None,
    say: Callable[[str], None] = show,
) -> Imported:
    """Convert episodes to a stored replay, one after the other in a single stream.

    Args:
        source: The episodes.
        path: Folder to write, new or empty; it stays so if nothing can be imported.
        task: Name of the task; None takes that of the source.
        action_repeat: Control steps of the simulator that each action was repeated for.
        image_size: Pixels along both sides of images; None leaves them as they are.
        say: Takes a line for every episode that is refused.

    Raises:
        UsageError: If the folder is not empty, or no episode can be used.
        MachineError: If something cannot be written.
    """
    existed = path.exists()
    check_folder(path)
    if other := next(path.iterdir(), None):
        raise UsageError(
            f"The folder for the data must be new or empty, but {path} holds {other.name}; "
            "nothing was overwritten."
        )
    try:
        return _import(source, path, task or source.task, action_repeat, image_size, say)
    except BaseException:
        shutil.rmtree(files_of(path) if existed else path, ignore_errors=True)
        raise


def _import(
    source: Source,
    path: Path,
    task: str,
    action_repeat: int,
    image_size: int | None,
    say: Callable[[str], None],
) -> Imported:
    first: Layout | None = None
    replay: Replay | None = None
    ranges: dict[str, _Range] = {}
    returns, lengths, refused = [], [], 0
    for name, read in source.episodes():
        try:
            episode = read()
            layout, steps = convert(episode, image_size)
            layout.check_same(first or layout)
        except Refused as reason:
            refused += 1
            say(one_line(f"refused {name}: {reason}"))
            continue
        if first is None or replay is None:
            first, replay = layout, _make_replay(layout, source.max_steps(), files_of(path))
        _append(replay, steps)
        for key, array in {**steps, "action": episode.action, "reward": episode.reward}.items():
            if key in (*layout.observation, "action", "reward"):
                found = _Range(float(array.min()), float(array.max()))
                ranges[key] = ranges.get(key, found) | found
        returns.append(float(np.sum(episode.reward, dtype=np.float64)))
        lengths.append(len(episode.reward))
    if first is None or replay is None:
        why = f"{refused:,} were refused" if refused else "there are none"
        raise UsageError(f"No episode can be imported: {why}; nothing was written.")
    spec = EnvSpec(
        first.observation, first.action_size, action_repeat, max(lengths), first.discrete
    )
    with writing(path):
        manifest = ReplayStore(files_of(path)).snapshot(replay).write()
    bounds = None if first.discrete else [[*first.low], [*first.high]]
    data = DataFolder(path, task, spec, manifest, bounds)
    data.write()
    return Imported(data, returns, lengths, refused, ranges)


def _make_replay(layout: Layout, max_steps: int, folder: Path) -> Replay:
    """Make an empty replay of one stream, in files: a dataset may be larger than the memory."""
    spec = EnvSpec(layout.observation, layout.action_size, 1, 1, layout.discrete)
    return Replay(
        {name: StepSpec(array.shape, array.dtype) for name, array in spec.stored.items()},
        num_streams=1,
        window=1,
        capacity=max_steps,
        max_steps=max_steps,
        online=False,
        folder=folder,
    )


def _append(replay: Replay, steps: Mapping[str, Shaped[np.ndarray, "steps ..."]]) -> None:
    """Add the steps of one episode at once."""
    ring, num_steps = replay.ring, len(steps["reward"])
    if ring.num_added + num_steps > ring.length:
        raise UsageError(f"There are more than the {ring.length:,} steps that the source says.")
    for name, array in steps.items():
        ring.fill(name, ring.num_added, array[None])
    ring.num_added += num_steps


def _statistics(values: list[float] | list[int]) -> str:
    return f"least {min(values):g}, mean {np.mean(values):g}, most {max(values):g}"
