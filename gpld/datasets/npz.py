"""Episodes in NumPy's `.npz` files, one in each; `docs/howto/data.md` has the layout."""

import functools
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from ..errors import UsageError
from ..machine.files import open_to_read
from .episode import Bounds, Episode, Refused

_NEEDED = ("action", "reward", "terminated")
_KNOWN = re.compile(
    r"observation(/.+)?|num_classes(/.+)?|action|reward|terminated|truncated|"
    r"action_low|action_high|num_actions"
)

# All that NumPy raises for a file that is none of its own, or was damaged.
_ERRORS = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class NpzSource:
    """Episodes in a file, or in all `.npz` files of a folder in the order of their names."""

    def __init__(self, path: Path, *, bounds: Bounds | None = None, num_actions: int | None = None):
        """Find the files.

        Args:
            path: File or folder.
            bounds: Bounds of actions, in place of those in the files.
            num_actions: Number of discrete actions, in place of that in the files.

        Raises:
            UsageError: If there is no such file, or none in the folder.
        """
        self.task = path.resolve().stem
        self._bounds, self._num_actions = bounds, num_actions
        self._files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not path.exists():
            raise UsageError(f"There is no {path}.")
        if not self._files or self._files[0].suffix != ".npz":
            raise UsageError(
                f"{path} is no .npz file and holds none, nor is it the folder of a Minari dataset."
            )

    def max_steps(self) -> int:
        """Count the env steps of all episodes at most."""
        return sum(map(_num_steps, self._files))

    def episodes(self) -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield the name of each file, and a function that reads it."""
        for file in self._files:
            yield file.name, functools.partial(self._read, file)

    def _read(self, path: Path) -> Episode:
        arrays = _load(path)
        if unknown := [name for name in arrays if not _KNOWN.fullmatch(name)]:
            raise Refused(f"it has an array `{unknown[0]}`, which is none of the layout")
        if missing := [name for name in _NEEDED if name not in arrays]:
            raise Refused(f"it has no `{missing[0]}`")
        observation, num_classes = _named(arrays, "observation"), _named(arrays, "num_classes")
        if unknown := num_classes.keys() - observation:
            raise Refused(f"it has no observation for `num_classes/{min(unknown)}`")
        return Episode(
            observation,
            arrays["action"],
            arrays["reward"],
            arrays["terminated"],
            arrays.get("truncated", np.zeros(arrays["terminated"].shape, bool)),
            self._actions(arrays),
            {name: _integer(f"num_classes/{name}", n) for name, n in num_classes.items()},
        )

    def _actions(self, arrays: dict[str, Any]) -> Bounds | int:
        action = arrays["action"]
        if action.dtype.kind in "iu" and action.ndim == 1:
            number = self._num_actions
            if number is None and "num_actions" not in arrays:
                raise Refused(
                    "it does not say how many actions there are: add `num_actions` to the file, "
                    "or give `--num_actions`"
                )
            return _integer("num_actions", arrays["num_actions"]) if number is None else number
        if self._bounds is not None:
            return self._bounds
        if not {"action_low", "action_high"} <= arrays.keys():
            raise Refused(
                "it does not say the bounds of actions: add `action_low` and `action_high` to the "
                "file, or give `--low` and `--high`"
            )
        return Bounds(arrays["action_low"], arrays["action_high"])


def _load(path: Path, names: Sequence[str] | None = None) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read arrays of a file, all if none are named; nothing in it can run code.

    Raises:
        Refused: If it cannot be read.
    """
    try:
        with open_to_read(path) as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (arrays.files if names is None else names)}
    except (*_ERRORS, AttributeError, TypeError) as error:  # the last two of a single array
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise Refused(f"it cannot be read as a .npz file: {reason:.120}") from error


def _num_steps(path: Path) -> int:
    """Return the steps of a file at most; none if it will be refused."""
    try:
        return _load(path, ["reward"])["reward"].size + 1
    except Refused:
        return 0


def _named(arrays: dict[str, Any], group: str) -> dict[str, Any]:
    """Return the arrays `group/NAME` by their names, and `group` itself by an empty one."""
    found = {}
    for name, array in arrays.items():
        first, _, rest = name.partition("/")
        if first == group:
            found[rest] = array
    return found


def _integer(name: str, value: Shaped[np.ndarray, "..."]) -> int:
    if value.size != 1 or value.dtype.kind not in "iu":
        raise Refused(f"`{name}` must be an integer, got {value.dtype} of shape {value.shape}")
    return int(value.item())
