"""Episodes of a Minari dataset on disk, read with the library; nothing is ever downloaded."""

import functools
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from ..envs.adapters.arrays import shown
from ..errors import UsageError
from .episode import Bounds, Episode, Refused, are_finite


class _Place(NamedTuple):
    """Array in an observation, as the dataset's space announces it."""

    path: tuple[Any, ...]
    """Keys and indices that lead to it."""

    entry: tuple[int, ...] = ()
    """Entry of the array that is apart from the others, if there are several in one."""

    num_classes: int | None = None
    start: int = 0
    """The lowest of its integers, if they are classes."""

    @property
    def name(self) -> str:
        return "/".join(map(str, (*self.path, *self.entry)))

    def find(self, observations: Any) -> Shaped[np.ndarray, "steps ..."]:
        """Return the array of all steps."""
        for key in self.path:
            observations = observations[key]
        array = np.asarray(observations)[(slice(None), *self.entry)]
        return array if self.num_classes is None else array.astype(np.int64) - self.start


class MinariSource:
    """Episodes of a Minari dataset."""

    def __init__(self, path: Path, *, bounds: Bounds | None = None):
        """Open the dataset.

        Args:
            path: Its folder, or the folder `data` in it.
            bounds: Bounds of continuous actions, in place of those of its action space.

        Raises:
            UsageError: If the library is not installed, the dataset cannot be read, or its
                spaces cannot be ours.
        """
        if importlib.util.find_spec("minari") is None:
            raise UsageError(f"{path} needs Minari to be read: `pip install 'gpld[minari]'`.")
        from minari import MinariDataset  # pyright: ignore[reportMissingImports] (an extra)

        try:
            self._dataset = MinariDataset(_data(path))
        except Exception as error:  # whatever the library raises for a file of its own
            raise UsageError(f"{path} is no Minari dataset: {_reason(error)}.") from error
        spec = self._dataset.env_spec
        self.task = self._dataset.id if spec is None else f"gymnasium:{spec.id}"
        self._places = list(_places(self._dataset.observation_space, ()))
        self._actions, self._start = _actions(self._dataset.action_space, bounds)

    def max_steps(self) -> int:
        """Count the env steps of all episodes at most."""
        return self._dataset.total_steps + self._dataset.total_episodes

    def episodes(self) -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield the name of each episode, and a function that reads it."""
        for index in range(self._dataset.total_episodes):
            yield f"episode {index}", functools.partial(self._read, index)

    def _read(self, index: int) -> Episode:
        try:
            numbers = self._dataset.episode_indices[index : index + 1]
            (metadata,) = self._dataset.storage.get_episode_metadata(numbers)
            found = self._dataset[index]
            observation = {place.name: place.find(found.observations) for place in self._places}
        except Exception as error:  # whatever the library raises for a file of its own
            raise Refused(f"it cannot be read: {_reason(error)}") from error
        # Of more than 32,768 rows in Arrow's files Minari's writer keeps not even the order, so
        # that what its reader leaves out cannot be put together here either.
        if len(found.rewards) != metadata["total_steps"]:
            raise Refused(
                f"Minari reads {len(found.rewards):,} of its {metadata['total_steps']:,} steps, as "
                "it does of long episodes in Arrow and Parquet files; store the dataset as hdf5"
            )
        action = np.asarray(found.actions)
        return Episode(
            observation,
            action.astype(np.int64) - self._start if isinstance(self._actions, int) else action,
            np.asarray(found.rewards),
            np.asarray(found.terminations),
            np.asarray(found.truncations),
            self._actions,
            {p.name: p.num_classes for p in self._places if p.num_classes is not None},
        )


def is_minari(path: Path) -> bool:
    """Return whether a folder is that of a Minari dataset."""
    return (_data(path) / "metadata.json").is_file()


def _data(path: Path) -> Path:
    return path / "data" if (path / "data").is_dir() else path


def _places(space: Any, path: tuple[Any, ...]) -> Iterator[_Place]:
    from gymnasium import spaces  # pyright: ignore[reportMissingImports] (comes with Minari)

    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces
        for key, part in parts.items() if isinstance(parts, dict) else enumerate(parts):
            yield from _places(part, (*path, key))
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        yield _Place(path)
    elif isinstance(space, spaces.Discrete):
        yield _Place(path, (), int(space.n), int(space.start))
    elif isinstance(space, spaces.MultiDiscrete):
        sizes, starts = set(space.nvec.flat), set(space.start.flat)
        if len(sizes) == len(starts) == 1:
            yield _Place(path, (), int(sizes.pop()), int(starts.pop()))
        else:
            for index in np.ndindex(space.shape):
                yield _Place(path, index, int(space.nvec[index]), int(space.start[index]))
    else:
        raise UsageError(
            "Observations must be of Box, Dict, Tuple, Discrete, MultiBinary and MultiDiscrete, "
            f"but the space is {shown(space)}."
        )


def _actions(space: Any, bounds: Bounds | None) -> tuple[Bounds | int, int]:
    """Return bounds or number of the actions, and the integer of the first."""
    from gymnasium import spaces  # pyright: ignore[reportMissingImports] (comes with Minari)

    if isinstance(space, spaces.Discrete):
        return int(space.n), int(space.start)
    if not isinstance(space, spaces.Box):
        raise UsageError(f"Actions must be a Box or Discrete, but the space is {shown(space)}.")
    bounds = bounds or Bounds(space.low, space.high)
    if not are_finite(bounds):
        raise UsageError(
            f"Actions must have finite bounds, but the space is {shown(space)}; give `--low` and "
            "`--high`."
        )
    return bounds, 0


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text:.150}".rstrip(".")
