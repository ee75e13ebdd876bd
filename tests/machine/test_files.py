import errno
import os
import stat
from pathlib import Path

import pytest

from gpld.errors import MachineError, UsageError
from gpld.machine import files
from gpld.runs.start import locked


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not JSON"),
        (b"[1]", "holds a list"),
        (b"null", "holds a null"),
        (b"\xff\xfe", "it is not JSON"),
        (b'{"a": ' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_object_is_one_line(tmp_path, content, said):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as raised:
        files.read_json(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="no regular file"):
        files.read_bytes(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"regular file|No such device"):
        files.open_to_append(tmp_path / "fifo")


def test_larger_files_are_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "a", limit=5) == b"12345"
    with pytest.raises(UsageError, match="larger"):
        files.read_bytes(tmp_path / "a", limit=4)


def test_mistakes_of_the_user_are_told_from_those_of_the_machine(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "none", tmp_path / "loop", tmp_path / ("x" * 300), tmp_path / "\0"):
        with pytest.raises(UsageError):
            files.read_bytes(path)
    assert isinstance(files.file_error(tmp_path, OSError(errno.EIO, "I/O error")), MachineError)


def test_nothing_is_written_through_links(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link = tmp_path / "link"
    link.symlink_to(victim)
    for write in (files.open_to_append, files.create, lambda path: files.truncate(path, 0)):
        with pytest.raises(OSError, match=r"symbolic links|exists"):
            write(link)
    files.write_bytes(link, b"new")
    assert victim.read_bytes() == b"mine"
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOSPC])
def test_a_disk_that_does_not_sync_folders_is_written_to(tmp_path, monkeypatch, number):
    """As some FUSE and CIFS; all other errors are raised."""
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space"):
            files.write_bytes(tmp_path / "a", b"new")
    else:
        files.write_bytes(tmp_path / "a", b"new")
    assert files.read_bytes(tmp_path / "a") == b"new"


def test_whether_a_file_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    files.check_file(tmp_path / "new" / "deep" / "a.json")
    files.check_file(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"
    assert not list((tmp_path / "new" / "deep").iterdir())
    for name in ("file/a", "folder", "loop", "loop/a", "x" * 300, "x" * 300 + "/a", "\0", "\0/a"):
        with pytest.raises(UsageError) as error:
            files.check_file(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no regular file"):
        files.check_file(Path("/dev/null"))
    files.check_folder(tmp_path / "other" / "deep")
    for name in ("file", "file/x", "loop", "x" * 300, "\0"):
        with pytest.raises(UsageError):
            files.check_folder(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_the_machine_s(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(MachineError, match="cannot be written: Read-only file system"):
        files.check_file(tmp_path / "a.json")


def test_links_are_found_and_not_followed(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    found = {str(path.relative_to(tmp_path)) for path in files.links(tmp_path)}
    assert found == {"a/b/up", "dangling"}


def test_a_lock_keeps_another_out_until_it_is_closed(tmp_path):
    with files.open_to_append(tmp_path / "lock") as first:
        assert files.lock(first, pytest.fail)
        with files.open_to_append(tmp_path / "lock") as second:
            assert not files.lock(second, pytest.fail)
    with files.open_to_append(tmp_path / "lock") as third:
        assert files.lock(third, pytest.fail)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_warned_of(tmp_path, monkeypatch, capsys, number):
    """As flock(2) fails on Lustre without `-o flock` and on some NFS."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", fail)
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "begun").touch()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{os.strerror(number)}: nothing keeps a second process from using" in said


def test_another_error_of_a_lock_is_no_lock(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.fcntl, "flock", fail)
    with files.open_to_append(tmp_path / "lock") as file, pytest.raises(OSError, match="Input"):
        files.lock(file, pytest.fail)


def test_all_is_tried_and_the_first_error_raised():
    made = []

    def call(name, error=None):
        made.append(name)
        if error is not None:
            raise error

    calls = [
        lambda: call("a"),
        lambda: call("b", MachineError("first")),
        lambda: call("c", OSError("second")),
        lambda: call("d"),
    ]
    with pytest.raises(MachineError, match="first"):
        files.try_all(calls)
    assert made == ["a", "b", "c", "d"]
