"""Which checkpoints stay, and that saving often changes nothing."""

import dataclasses

import pytest

import gpld
from gpld.checkpoints import checkpoint
from gpld.config.presets import PRESETS
from gpld.replay import chunk_file
from gpld.replay.manifest import files
from gpld.training.train import train

pytestmark = pytest.mark.slow

DEBUG = PRESETS["debug"]
CONFIG = dataclasses.replace(
    DEBUG,
    task="probe_memory",
    env_steps=126,
    env=dataclasses.replace(DEBUG.env, action_repeat=1, num_envs=3),
    log=dataclasses.replace(DEBUG.log, every=20, report_every=0, tensorboard=False),
)


def _train(path, **settings):
    settings = dataclasses.replace(CONFIG.checkpoint, every=20, **settings)
    return train(dataclasses.replace(CONFIG, checkpoint=settings), path)


def _resumable(folder):
    found = {env_step: checkpoint.read(path) for env_step, path in folder.checkpoints().items()}
    return {env_step: saved.resumable for env_step, saved in found.items()}


def _timeless(folder):
    lines = folder.read("metrics")
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


@pytest.fixture(scope="module")
def every_second(tmp_path_factory):
    return _train(tmp_path_factory.mktemp("runs") / "run", keep=2, keep_every=2)


def test_the_last_can_be_resumed_and_every_nth_agent_stays(every_second):
    # Three environments: multiples of 20 are passed at 21, 42, 60, 81, 102 and 120, of which
    # the second, fourth and sixth stay; the end of the run is one more.
    assert _resumable(every_second) == {42: False, 81: False, 120: True, 126: True}
    assert gpld.load(every_second.path, env_step=42).state.update > 0


def test_only_files_that_a_checkpoint_needs_stay(every_second):
    folder = every_second.path / "checkpoints"
    manifests = [checkpoint.read(folder / name).manifest["replay"] for name in _names(120, 126)]
    needed = {file["name"] for manifest in manifests for file in manifest["files"]}
    assert {path.name for path in (folder / "replay").iterdir()} == needed
    for manifest in manifests:
        for file in files(manifest):
            chunk_file.read(folder / "replay", file)


def _names(*env_steps):
    return [f"{env_step:09d}" for env_step in env_steps]


def test_saving_all_the_time_changes_nothing_and_leaves_little(every_second, tmp_path):
    # Overdue at every step: the training goes on while each is being written.
    often = _train(tmp_path / "run", keep=1, keep_every=0, minutes=1e-9)
    assert _timeless(often) == _timeless(every_second)
    assert _resumable(often) == {126: True}
