"""Memory that is left under limits, and what a full replay takes of it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from gpld.machine import memory
from gpld.machine.memory import available_memory

MIB, GIB = 2**20, 2**30
UNLIMITED_V1 = 9223372036854771712


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine with 100 GiB free and control groups as files."""
    monkeypatch.setattr(
        memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * GIB)
    )

    def write(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, contents in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{contents}\n")
        return available_memory(groups=tmp_path / "groups", membership=tmp_path / "membership")

    return write


def _v1(folder, limit, usage, cache):
    stat = f"cache 5\ntotal_inactive_file {cache}\ntotal_active_file 7"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return dict(zip((folder + name for name in names), (limit, usage, stat), strict=True))


def _v2(folder, limit, usage, cache):
    stat = f"anon 5\ninactive_file {cache}\nactive_file 7"
    names = ("memory.max", "memory.current", "memory.stat")
    return dict(zip((folder + name for name in names), (limit, usage, stat), strict=True))


def test_without_groups_the_machine_decides(groups, tmp_path):
    assert groups("", {}) == 100 * GIB
    assert available_memory(membership=tmp_path / "none") == 100 * GIB


def test_unlimited_groups_take_nothing_away(groups):
    assert groups("0::/job\n", _v2("job/", "max", 5 * GIB, 0)) == 100 * GIB
    files = _v1("memory/job/", UNLIMITED_V1, 5 * GIB, 0)
    assert groups("8:cpu,cpuacct:/\n4:memory:/job\n0::/\n", files) == 100 * GIB


def test_cached_files_count_as_free(groups):
    assert groups("0::/job\n", _v2("job/", 16 * GIB, 6 * GIB, 2 * GIB)) == 12 * GIB
    files = _v1("memory/job/", 16 * GIB, 6 * GIB, 2 * GIB)
    assert groups("4:cpuset,memory:/job\n0::/\n", files) == 12 * GIB


@pytest.mark.parametrize("inner", ["max", 64 * GIB])
def test_groups_around_limit_as_well(groups, inner):
    files = _v2("slurm/job/step/", inner, GIB, 0) | _v2("slurm/job/", 8 * GIB, 3 * GIB, 0)
    assert groups("0::/slurm/job/step\n", files | _v2("slurm/", 90 * GIB, GIB, 0)) == 5 * GIB


def test_a_container_sees_its_own_limit_at_the_root(groups):
    files = _v1("memory/", 4 * GIB, GIB, 0)
    assert groups("4:memory:/docker/0123456789\n", files) == 3 * GIB


def test_an_exhausted_group_leaves_nothing(groups):
    assert groups("0::/\n", _v2("", GIB, GIB + 4096, 0)) == 0


def test_this_machine_has_memory():
    assert MIB < available_memory() <= memory.psutil.virtual_memory().total


# What a replay really takes

_FILL = """
import numpy as np, psutil
from gpld.replay import Replay, StepSpec

specs = {
    "observation": StepSpec((78,), np.dtype(np.float32)),
    "is_first": StepSpec((), np.dtype(bool)),
    "is_last": StepSpec((), np.dtype(bool)),
    "latent": StepSpec((2048,), np.dtype(np.float32)),
}
replay = Replay(
    specs, num_streams=16, window=65, capacity=20_000, max_steps=10**6, mutable=["latent"]
)
steps = {name: np.ones((16, *spec.shape), spec.dtype) for name, spec in specs.items()}
process = psutil.Process()
before = process.memory_info().rss
for _ in range(2000):  # round the ring: 1314 steps of each stream are kept
    replay.add(steps)
assert replay.num_windows == 20_000
print(process.memory_info().rss - before, replay.nbytes)
"""


def test_a_full_replay_takes_what_was_predicted():
    result = subprocess.run([sys.executable, "-c", _FILL], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    taken, predicted = map(int, result.stdout.split())
    assert predicted == 16 * (1250 + 64) * (78 * 4 + 2 + 2048 * 4)
    assert taken == pytest.approx(predicted, rel=0.05)
