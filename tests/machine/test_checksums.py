"""Files with checksums: what is written is verified, and each kind of fault has its own error."""

import errno
import hashlib
import os
import resource

import pytest

from gpld.errors import Damaged, MachineError
from gpld.machine import checksums
from gpld.machine.checksums import verified

DATA = b"some bytes"


@pytest.fixture
def file(tmp_path):
    """A file, and the checksum that `write` gave it."""
    path = tmp_path / "file"
    return path, checksums.write(path, lambda file: [file.write(part) for part in (DATA, DATA)])


def check_damaged(path, checksum, message):
    with pytest.raises(Damaged) as error, verified(path, *checksum):
        pytest.fail("It was opened.")
    assert str(error.value) == f"{path} {message}."


def test_what_was_written_is_read(file):
    path, checksum = file
    assert checksum == (2 * len(DATA), hashlib.sha256(2 * DATA).hexdigest())
    with verified(path, *checksum) as opened:
        assert opened.read() == 2 * DATA


def test_another_size_is_damage(file):
    path, checksum = file
    os.truncate(path, 3)
    check_damaged(path, checksum, "has 3 of 20 bytes")


def test_other_contents_are_damage(file):
    path, checksum = file
    path.write_bytes(DATA + DATA.upper())
    check_damaged(path, checksum, "does not match its checksum")


def test_a_missing_file_is_damage(file):
    path, checksum = file
    path.unlink()
    check_damaged(path, checksum, "cannot be read: No such file or directory")


def test_too_many_open_files_say_nothing_of_the_file(file):
    path, checksum = file
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No number is left, however many are free below the highest that is in use.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(MachineError) as error, verified(path, *checksum):
            pytest.fail("It was opened.")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not isinstance(error.value, Damaged)
    assert str(error.value) == (
        f"{path} cannot be read: {os.strerror(errno.EMFILE)}. Nothing was changed."
    )


def test_a_disk_that_fails_while_it_is_read_is_damage(file):
    path, checksum = file
    with pytest.raises(Damaged) as error, verified(path, *checksum):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(error.value) == f"{path} cannot be read: Input/output error."
