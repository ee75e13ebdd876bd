"""Packed runs: their scores and settings in one small file that can be committed.

Packed are settings, versions, machine, metrics and scores, of all runs of a folder and of the
sweeps in it that they belong to; not checkpoints, videos, pictures and logs. The file is a JSON
object of texts by their paths, compressed by gzip. One that comes from somebody else is read within
limits, for which 2 GiB of memory are enough: `MOST_BYTES` of JSON, `MOST_FILES`, and
`MOST_OF_A_FILE` of JSON for each.
"""

import contextlib
import gzip
import json
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..errors import MachineError, UsageError
from ..machine.files import check_file, create, file_error, read_bytes, write_bytes
from .scores import find_runs

SUFFIX = ".json.gz"
MOST_BYTES = 512 * 2**20
MOST_OF_A_FILE = 128 * 2**20
MOST_FILES = 100_000

_OF_A_RUN = (
    "config.json",
    "run.json",
    "evaluation.json",
    "sensitivity.json",
    "prediction.json",
    "metrics.jsonl",
    "episodes.jsonl",
    "scores.jsonl",
)
_OF_A_SWEEP = ("sweep.json", "arms.json")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')


def pack(root: Path, file: Path, *, unreadable: Callable[[str], None] | None = None) -> int:
    """Packs all runs of a folder.

    The same runs give the same bytes. Paths in the folder become relative to it.

    Args:
        root: Folder of a sweep, a run, or anything that holds runs.
        file: Where they are packed to; its name ends in `SUFFIX`.
        unreadable: Takes a line about each run that cannot be read, which is left out; None
            raises what is wrong with the first.

    Returns:
        Number of runs.

    Raises:
        UsageError: If there are no runs, they are too many, or the file is named otherwise.
        MachineError: If it cannot be written.
    """
    if not file.name.endswith(SUFFIX):
        raise UsageError(f"The name of a packed file must end in {SUFFIX}, got {file.name}.")
    check_file(file)
    runs = list(find_runs(root))
    if not runs:
        raise UsageError(f"{root} holds no run folder.")
    files, count = dict[str, str](), 0
    # A study is several sweeps, each in a folder of its own.
    for folder in {root, *(root / own for run in runs for own in run.relative_to(root).parents)}:
        files |= _texts(folder, root, _OF_A_SWEEP)
    for run in runs:
        try:
            files |= _texts(run, root, _OF_A_RUN)
            count += 1
        except (UsageError, MachineError) as error:
            if unreadable is None:
                raise
            unreadable(f"{run} is left out: {error}")
    if not count:
        raise UsageError(f"None of the {len(runs)} runs in {root} can be read.")
    data = json.dumps(files, sort_keys=True).encode()
    if len(data) > MOST_BYTES or len(files) > MOST_FILES:
        raise UsageError(
            f"{root} holds {len(files):,} files of {len(data) / 2**20:,.0f} MiB, and a packed file "
            f"takes {MOST_FILES:,} of {MOST_BYTES // 2**20} MiB; pack its parts."
        )
    try:
        write_bytes(file, gzip.compress(data, mtime=0))
    except OSError as error:
        raise file_error(file, error, "written") from error
    return count


def unpack(file: Path, root: Path) -> None:
    """Writes the folders of the runs again, as far as they were packed.

    Args:
        file: What `pack` has written.
        root: Folder that they go into, new or empty.

    Raises:
        UsageError: If the file is not one of these.
        MachineError: If the folders cannot be written.
    """
    text = _decompressed(file)
    try:
        for count, (name, content) in enumerate(_parsed(text)):
            if count >= MOST_FILES:
                raise ValueError(f"more than {MOST_FILES:,} files")
            parts = PurePosixPath(name).parts
            if not parts or name.startswith("/") or ".." in parts or "\0" in name:
                raise ValueError(f"it would write {name!r} outside of its folder")
            if len(name.encode()) > 1000 or len(max(parts, key=len).encode()) > 200:
                raise ValueError("a path that is too long")
            path = root.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with create(path) as target:
                target.write(content.encode())
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{file} does not hold packed runs: it has a path twice.") from error
    except ValueError as error:
        raise UsageError(f"{file} does not hold packed runs: {error}.") from error
    except OSError as error:
        raise MachineError(f"Cannot write to {root}: {error.strerror}.") from error


@contextlib.contextmanager
def unpacked(roots: Sequence[Path]) -> Iterator[list[Path]]:
    """Folders of runs, those of packed files in a temporary folder.

    Args:
        roots: Folders, and files that `pack` has written.

    Raises:
        UsageError: If a file is not one of these.
        MachineError: If one cannot be unpacked here.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for index, root in enumerate(roots):
            if os.path.isfile(root):
                folder = Path(scratch, str(index), root.name.removesuffix(SUFFIX))
                unpack(root, folder)
                folders.append(folder)
            else:
                folders.append(root)
        yield folders


def _texts(folder: Path, root: Path, names: Sequence[str]) -> dict[str, str]:
    """Files of a folder, by their paths in `root`, of which its name alone is left in them."""
    home = root.resolve()
    itself, name = json.dumps(str(home)), json.dumps(home.name)
    within = json.dumps(f"{home}/")[1:-1]
    texts = {}
    for path in (folder / name for name in names):
        if path.exists():
            try:
                text = read_bytes(path, limit=MOST_OF_A_FILE).decode()
            except UnicodeDecodeError as error:
                raise UsageError(f"{path} is damaged: it is not text ({error}).") from error
            text = text.replace(within, "").replace(itself, name)
            if (size := len(json.dumps(text))) > MOST_OF_A_FILE:
                raise UsageError(
                    f"{path} takes {size / 2**20:,.1f} MiB as JSON, and a packed file takes "
                    f"{MOST_OF_A_FILE // 2**20} MiB of each."
                )
            texts[path.relative_to(root).as_posix()] = text
    return texts


def _decompressed(file: Path) -> str:
    """The JSON of a packed file, which is ASCII."""
    try:
        stream = zlib.decompressobj(wbits=31)  # 31: gzip
        data = stream.decompress(read_bytes(file, limit=MOST_BYTES), MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
        if not stream.eof or stream.unused_data:
            raise ValueError("it is not one whole gzip file")
        return data.decode("ascii")
    except (ValueError, zlib.error) as error:
        raise UsageError(f"{file} does not hold packed runs: {error}.") from error


def _parsed(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of a JSON object whose values are texts, one after the other.

    A parser of any JSON would make objects many times as large as a hostile text, or recurse.

    Raises:
        ValueError: If it is anything else.
    """
    at = _after(text, 0, "{")
    while text[at : at + 1] == '"':
        name, at = _string(text, at)
        content, at = _string(text, _after(text, at, ":"))
        yield name, content
        if text[at : at + 1] == ",":
            at = _after(text, at, ",")
    at = _after(text, at, "}")
    if at != len(text):
        raise ValueError(f"its JSON goes on after its end, at character {at:,}")


def _string(text: str, at: int) -> tuple[str, int]:
    """A text in quotes, and where it goes on behind it."""
    found = _STRING.match(text, at, at + MOST_OF_A_FILE)
    if found is None:
        most = MOST_OF_A_FILE // 2**20
        raise ValueError(f"its JSON has no text of at most {most} MiB at character {at:,}")
    return json.loads(found[0]), _after(text, found.end())


def _after(text: str, at: int, sign: str = "") -> int:
    """Return the position after spaces, a sign, and spaces again."""
    found = re.compile(rf"[ \t\r\n]*+{re.escape(sign)}[ \t\r\n]*+").match(text, at)
    if found is None:
        raise ValueError(f"its JSON has no {sign} at character {at:,}")
    return found.end()
