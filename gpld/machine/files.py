"""Reads and writes files that may be torn, hostile, or on a full disk.

Reading takes regular files of a bounded size and never waits, as it would on a FIFO. Writing
never follows a symbolic link in the last part of a path, replaces a file only by a complete one,
and makes what it wrote outlast a loss of power.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import MachineError, UsageError

_MIB = 2**20

_NO_SYNC_OF_FOLDERS = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

# Errors of a path that was named wrongly; all others are the machine's.
_NAMED_WRONGLY = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.EINVAL,
}


def read_bytes(path: Path, *, limit: int = 64 * _MIB) -> bytes:
    """Reads a regular file whole.

    Args:
        path: The file; links to it are followed.
        limit: Bytes that it may have at most.

    Raises:
        UsageError: If there is no such file, or it is no regular file or too large.
        MachineError: If it cannot be read.
    """
    try:
        with open_to_read(path) as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise file_error(path, error) from error
    if len(data) > limit:
        raise UsageError(f"{path} is larger than {limit // _MIB} MiB, and no more is read of it.")
    return data


def read_json(path: Path, *, limit: int = 64 * _MIB) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
        path: The file; links to it are followed.
        limit: Bytes that it may have at most.

    Raises:
        UsageError: If there is no such file, or it holds anything else.
        MachineError: If it cannot be read.
    """
    return parse_json(read_bytes(path, limit=limit), str(path))


def parse_json(data: bytes | str, name: str) -> dict[str, Any]:
    """Parses a JSON object.

    Args:
        data: Its text, in UTF-8.
        name: What messages call it, such as a path.

    Raises:
        UsageError: If it is anything else.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise UsageError(f"{name} is damaged: its JSON is nested too deeply.") from None
    except ValueError as error:  # of JSON and of UTF-8
        raise UsageError(f"{name} is damaged: it is not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise UsageError(f"{name} must hold a JSON object, but it holds a {_kind(value)}.")
    return value


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Replaces a file by an indented JSON object, as `write_bytes` does.

    Raises:
        OSError: If it cannot be written; the file is the old or the new one, and whole.
    """
    write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file by a complete one, which outlasts a loss of power.

    A link in its place is replaced, not followed.

    Raises:
        OSError: If it cannot be written; the file is the old or the new one, and whole.
    """
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with create(temporary) as file:
            file.write(data)
            sync(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_to_read(path: Path) -> BufferedReader:
    """Opens a regular file for reading, and never waits.

    Raises:
        OSError: If it is no regular file or cannot be opened.
    """
    # Without O_NONBLOCK, opening a FIFO would wait for somebody who writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    _check_regular(descriptor, path)
    return os.fdopen(descriptor, "rb")


def create(path: Path) -> BinaryIO:
    """Opens a new file for writing.

    Raises:
        OSError: If anything of that name exists, a dangling link included, or it cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def open_to_append(path: Path) -> BinaryIO:
    """Opens a regular file, new or not, to write at its end.

    Raises:
        OSError: If it is a link or no regular file, or cannot be opened.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    _check_regular(descriptor, path)
    return os.fdopen(descriptor, "ab")


def truncate(path: Path, size: int) -> None:
    """Cuts a regular file to a size, and does not follow a link.

    Raises:
        OSError: If it is a link or cannot be cut.
    """
    with open_to_append(path) as file:
        file.truncate(size)
        sync(file)


def lock(file: BinaryIO, warn: Callable[[str], None]) -> bool:
    """Locks a file for this process, until it is closed.

    Args:
        file: The file, opened for writing.
        warn: Told in a line where the file system knows no locks, as some of clusters.

    Returns:
        Whether no other process has locked it, as far as can be told.

    Raises:
        OSError: If it cannot be locked for another reason.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        warn(f"{error.strerror}: nothing keeps a second process from using this folder as well")
    return True


def sync(file: BinaryIO) -> None:
    """Flush a file to the disk, so that it outlasts a loss of power.

    Raises:
        OSError: If the disk is full or fails.
    """
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush new names in a folder to the disk, where the file system can.

    Raises:
        OSError: If the folder cannot be opened or the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:  # as of some FUSE and CIFS
            raise
    finally:
        os.close(descriptor)


def check_file(path: Path) -> None:
    """Checks that a file can be written, before there is anything to write; makes its folder.

    Raises:
        UsageError: If there is something else of that name, or it is no name of a file.
        MachineError: If its folder cannot be written.
    """
    check_folder(path.parent)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{_short(path)} cannot be written: it is no regular file.")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise file_error(path, error, "written") from error


def check_folder(path: Path) -> None:
    """Makes a folder, and checks that files can be written there.

    Raises:
        UsageError: If it is no name of a folder, such as that of a file.
        MachineError: If it cannot be made or written.
    """
    probe = path / f".{secrets.token_hex(4)}.tmp"
    try:
        path.mkdir(parents=True, exist_ok=True)
        create(probe).close()
        probe.unlink()
    except FileExistsError as error:
        raise UsageError(f"{_short(path)} must be a folder, but it is a file.") from error
    except (OSError, ValueError) as error:
        raise file_error(path, error, "written") from error


@contextlib.contextmanager
def writing(path: Path, what: str = "write to") -> Iterator[None]:
    """Turn errors of the system into one that names what cannot be written.

    Args:
        path: The file or folder.
        what: What cannot be done, before its path.

    Raises:
        MachineError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise MachineError(f"Cannot {what} {path}: {error.strerror}.") from error


def try_all(calls: Iterable[Callable[[], Any]]) -> None:
    """Makes all calls in their order, also those after one that fails.

    Raises:
        OSError: The first error, once all were made.
        MachineError: Likewise.
    """
    errors = []
    for call in calls:
        try:
            call()
        except (OSError, MachineError) as error:
            errors.append(error)
    if errors:
        raise errors[0]


def links(folder: Path) -> Iterator[Path]:
    """Finds the symbolic links below a folder, without following any."""
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            if os.path.islink(os.path.join(root, name)):
                yield Path(root, name)


def file_error(
    path: Path, error: OSError | ValueError, what: str = "read"
) -> UsageError | MachineError:
    """Turn an error of a file into one line: the user's mistake, or the machine's."""
    if isinstance(error, ValueError):  # a NUL byte in the path
        return UsageError(f"{str(path)!r} is no path: {error}.")
    kind = UsageError if error.errno in _NAMED_WRONGLY else MachineError
    return kind(f"{_short(path)} cannot be {what}: {error.strerror or error}.")


def damage(path: Path, error: OSError) -> str:
    """Describe in a line why a file that was written there cannot be read.

    Raises:
        MachineError: If that says nothing of the file, as too many open files or no permission.
    """
    message = f"{_short(path)} cannot be read: {error.strerror or error}"
    if error.errno not in _NAMED_WRONGLY | {errno.EIO}:
        raise MachineError(f"{message}. Nothing was changed.") from error
    return message


def is_count(value: Any) -> bool:
    """Return whether a value from JSON is a count: an integer from 0 that a float can hold."""
    return type(value) is int and 0 <= value < 2**53


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, if it is there.

    Raises:
        OSError: If it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_regular(descriptor: int, path: Path) -> None:
    """Close and refuse what is no regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
