"""What runs have measured, in one small file that can be committed.

Packed are settings, versions, machine, metrics and scores, of all runs of a folder and of the
sweep that they belong to; not checkpoints, videos, pictures and logs.
"""

import contextlib
import gzip
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import MachineError, UsageError
from .scores import find_runs

SUFFIX = ".json.gz"

_OF_A_RUN = (
    "config.json",
    "run.json",
    "evaluation.json",
    "sensitivity.json",
    "metrics.jsonl",
    "episodes.jsonl",
    "scores.jsonl",
)
_OF_A_SWEEP = ("sweep.json", "arms.json")


def pack(root: Path, file: Path) -> int:
    """Packs all runs of a folder.

    The same runs give the same bytes. Paths in the folder become relative to it.

    Args:
        root: Folder of a sweep, a run, or anything that holds runs.
        file: Where they are packed to; its name ends in `SUFFIX`.

    Returns:
        Number of runs.

    Raises:
        UsageError: If there are no runs, or the file is named otherwise.
        MachineError: If it cannot be written.
    """
    if not file.name.endswith(SUFFIX):
        raise UsageError(f"The name of a packed file must end in {SUFFIX}, got {file.name}.")
    runs = list(find_runs(root))
    if not runs:
        raise UsageError(f"{root} holds no run folder.")
    paths = [root / name for name in _OF_A_SWEEP]
    paths += [run / name for run in runs for name in _OF_A_RUN]
    here = json.dumps(f"{root.resolve()}/")[1:-1]
    files = {
        str(path.relative_to(root)): path.read_text().replace(here, "")
        for path in paths
        if path.exists()
    }
    data = gzip.compress(json.dumps(files, sort_keys=True).encode(), mtime=0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    except OSError as error:
        raise MachineError(f"Cannot write {file}: {error.strerror}.") from error
    return len(runs)


def unpack(file: Path, root: Path) -> None:
    """Writes the folders of the runs again, as far as they were packed.

    Args:
        file: What `pack` has written.
        root: Folder that they go into.

    Raises:
        UsageError: If the file is not one of these.
        MachineError: If the folders cannot be written.
    """
    try:
        files = json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise UsageError(f"{file} does not hold packed runs: {error}.") from error
    try:
        for name, text in files.items():
            path = root / name
            if not path.resolve().is_relative_to(root.resolve()):
                raise UsageError(f"{file} would write {name} outside of its folder.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    except OSError as error:
        raise MachineError(f"Cannot write to {root}: {error.strerror}.") from error


@contextlib.contextmanager
def unpacked(roots: Sequence[Path]) -> Iterator[list[Path]]:
    """Folders of runs, those of packed files in a temporary folder.

    Args:
        roots: Folders, and files that `pack` has written.

    Raises:
        UsageError: If a file is not one of these.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for index, root in enumerate(roots):
            if root.is_file():
                folder = Path(scratch, str(index), root.name.removesuffix(SUFFIX))
                unpack(root, folder)
                folders.append(folder)
            else:
                folders.append(root)
        yield folders
