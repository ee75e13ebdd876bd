"""Folder of imported data: `data.json` with its task, and a stored replay of all its steps.

    data.json   name, sizes and bounds of the task, manifest of the replay, a checksum of itself
    replay/     the steps, in the files of `ReplayStore`

There are no latent states in it: a replay of any model can take the steps over.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..envs import EnvSpec, spec_from_json, spec_to_json
from ..errors import Damaged, Unsuitable
from ..machine import checksums
from ..machine.files import read_json, write_json, writing
from ..replay import faults, has_other_format

FORMAT = 1


class DataFolder(NamedTuple):
    """Imported data on disk."""

    path: Path
    task: str
    """Name of the task, which need not be one of ours."""

    spec: EnvSpec
    manifest: dict[str, Any]
    """That of the replay."""

    bounds: list[list[float]] | None = None
    """Lowest and highest actions, which became -1 and 1; None if discrete, or in older folders."""

    @property
    def files(self) -> Path:
        """Folder of the replay's files."""
        return files_of(self.path)

    def write(self) -> None:
        """Write `data.json`, which makes the folder one of data.

        Raises:
            MachineError: If it cannot be written.
        """
        values = {
            "format": FORMAT,
            "task": self.task,
            "env": spec_to_json(self.spec),
            "bounds": self.bounds,
            "replay": self.manifest,
        }
        with writing(self.path):
            # What it holds after a round trip, tuples as lists, is what is checked.
            write_json(_file(self.path), {**values, "sha256": checksums.of_json(values)})

    @classmethod
    def read(cls, path: Path) -> "DataFolder":
        """Read what a folder holds; files of the replay are verified when they are loaded.

        Raises:
            UsageError: If there is no such file, or another version has written it.
            Damaged: If it was changed.
            MachineError: If it cannot be read.
        """
        file = _file(path)
        values = read_json(file)
        stored = values.pop("sha256", None)
        whole = stored == checksums.of_json(values)
        if has_other_format(values, FORMAT, whole):
            raise Unsuitable(
                f"{file} has format {values['format']} and this version of gpld reads {FORMAT}."
            )
        if not whole:
            raise Damaged(f"{file} does not match its checksum.")
        try:
            task, spec, manifest = values["task"], spec_from_json(values["env"]), values["replay"]
            if (bounds := values.get("bounds")) is not None:
                bounds = np.array(bounds, np.float64).reshape(2, spec.action_size).tolist()
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{file} does not hold what it must: {error!r:.100}.") from error
        if fault := next(faults(manifest, str(file), whole=True), None):
            raise Damaged(f"{file} is damaged: {fault}.")
        return cls(path, task, spec, manifest, bounds)


def is_data(path: Path) -> bool:
    """Return whether a folder holds imported data."""
    return _file(path).is_file()


def files_of(path: Path) -> Path:
    """Return the folder of the files of a data folder's replay."""
    return path / "replay"


def _file(path: Path) -> Path:
    return path / "data.json"
