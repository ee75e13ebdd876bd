"""What cannot be run is refused from the settings alone."""

import dataclasses
import re

import pytest

from gpld.cli import parse_config
from gpld.errors import UsageError
from gpld.replay import stream_length
from gpld.training import memory_estimate
from gpld.training.experience import replay_size
from gpld.training.memory_estimate import check_replay_fits, check_settings
from gpld.training.train import train
from gpld.xla.choices import made_for

MIB, GIB = 2**20, 2**30


def settings(*args):
    """Settings of the preset `debug` with some changes."""
    return parse_config(["--preset", "debug", "--task", "walker_walk", *args])


def test_what_is_usual_passes(tmp_path):
    check_settings(settings(), tmp_path)
    for preset in ("paper_pixels", "mjx_paper", "dreamerv3"):
        check_settings(parse_config(["--preset", preset, "--env_steps", "10000"]), tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--model.units", "1000000000"],
            r"The agents before and after an update take at least 193,\d{3},\d{3},\d{3}\.\d\d "
            r"GiB of memory, but .* are free; choose less for `model\.size` or widths",
        ),
        (
            ["--env.observations", "pixels", "--env.image_size", "1000000"],
            r"The agents .*image_size`",
        ),
        (["--seeds", "100000000"], r"200,000,000 environments take .* `env\.num_envs` or `seeds`"),
        (
            [
                *("--env.num_envs", "100000000", "--replay.capacity", "1000000000000"),
                *("--env_steps", "4000000000"),
            ],
            r"100,000,000 environments take at least 6,103\.52 GiB .* less for `env\.num_envs`",
        ),
        (
            ["--evaluation.num_envs", "1000000000", "--evaluation.episodes", "1000000000"],
            r"1,000,000,000 environments take .* less for `evaluation\.num_envs`",
        ),
        (["--ac.imag_length", "1000000000"], r"intermediate results .* `ac\.imag_length` or"),
        (
            ["--env_steps", "4000000000", "--replay.capacity", "4000000000"],
            r"The replay takes 547\.62 GiB of memory once it is full.* It fits with",
        ),
    ],
)
def test_what_can_fit_nowhere_is_refused_before_anything_is_opened(
    args, message, tmp_path, monkeypatch
):
    def opened(*_):
        raise AssertionError("an environment was opened")

    monkeypatch.setattr("gpld.training.train.open_source", opened)
    with pytest.raises(UsageError, match=message):
        train(settings(*args), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "least"),
    [
        (["--env_steps", "30"], 32),
        (["--env_steps", "20", "--replay.batch_length", "100000"], 400_000),
    ],
)
def test_a_run_without_updates_is_refused(args, least, tmp_path):
    message = f"`env_steps` must be at least {least}, .* got {args[1]}: the run would make no up"
    with pytest.raises(UsageError, match=message):
        train(settings(*args), tmp_path / "run")
    # The last env step may be beyond what was asked for: all environments make theirs.
    check_settings(settings("--env_steps", "31"), tmp_path)


def test_a_run_that_was_begun_before_may_have_no_updates(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    check_settings(settings("--env_steps", "30"), tmp_path)


def test_a_replay_that_is_taken_over_has_its_own_number_of_streams():
    config = settings("--offline", "runs/other", "--replay.capacity", "3")
    saved = {"num_streams": 4, "state": {"num_added": 100}}
    with pytest.raises(UsageError, match=re.escape("`replay.capacity` must be at least 4, a seq")):
        replay_size(config, saved)


@pytest.fixture
def memory(monkeypatch):
    """Gives the machine memory, and a GPU with some of its own."""

    def memory(on_device, on_host):
        monkeypatch.setattr(memory_estimate, "device_memory", lambda: on_device)
        monkeypatch.setattr(memory_estimate, "available_memory", lambda: on_host)
        monkeypatch.setattr(memory_estimate, "free_disk", lambda _: 100 * GIB)

    return memory


@pytest.mark.parametrize(
    ("preset", "size", "host", "place"),
    [
        ("mjx_paper", "12m", 4, "of the host's memory for a checkpoint, but 4.00 GiB are free"),
        ("mjx_paper", "25m", 9, "of device memory, but beside the 6.84 GiB of the rest of the"),
        ("paper", "25m", 9, "of memory once it is full, but 9.00 GiB are free"),
    ],
)
def test_what_is_advised_fits_on_a_gpu_and_on_its_host(preset, size, host, place, memory, tmp_path):
    memory(8 * GIB, host * GIB)
    args = ["--preset", preset, "--model.size", size, "--seeds", "5"]
    with made_for("gpu"):
        with pytest.raises(UsageError, match=place) as error:
            check_settings(parse_config(args), tmp_path)
        advice = re.findall(r"`(--\S+) (\w+)`", str(error.value))
        assert len(advice) == (2 if preset == "mjx_paper" else 3)
        for change in advice:
            check_settings(parse_config([*args, *change]), tmp_path)


def test_an_action_repeat_beyond_an_episode_is_refused():
    message = r"`env\.action_repeat` must be at most 1000, the control steps of an episode"
    with pytest.raises(UsageError, match=message):
        settings("--env.action_repeat", "5000")
    assert settings("--env.action_repeat", "1000").env.action_repeat == 1000


def test_more_workers_than_environments_are_as_many_as_those():
    from gpld.training.source import num_workers

    config = settings()
    env = dataclasses.replace(config.env, workers=10**9)
    assert num_workers(dataclasses.replace(config, env=env)) == config.env.num_envs


# Replays that are too large

# 16 streams of 1 KiB per step: 16 KiB for one step of all.
SIZES = {"step_bytes": 1024, "num_streams": 16, "window": 65, "capacity": 5_000_000}
PLENTY = {"memory": 100 * GIB, "disk": 100 * GIB, "other_bytes": GIB}


def _refusal(**changes):
    with pytest.raises(UsageError) as error:
        check_replay_fits(**SIZES | PLENTY | {"max_steps": 131_072, "storage": "ram"} | changes)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("storage", ["ram", "disk"])
def test_what_fits_is_not_refused(storage):
    needed = 16 * 1024 * 131_072  # 2 GiB
    check_replay_fits(
        **SIZES,
        max_steps=131_072,
        storage=storage,
        memory=(needed if storage == "ram" else 0) + GIB,
        disk=needed if storage == "disk" else 0,
        other_bytes=GIB,
    )


def test_a_refusal_says_what_would_fit():
    assert _refusal(memory=2 * GIB) == (
        "The replay takes 2.00 GiB of memory once it is full, but beside the 1.00 GiB of the "
        # Half the steps: 65,536 per stream, 1,048,576 together, with 64 windows less each.
        "rest of the run 1.00 GiB are free. It fits with `--replay.capacity 1000000` or "
        "`--env_steps 1000000` or `--replay.storage disk`."
    )
    assert _refusal(storage="disk", disk=GIB) == (
        "The replay takes 2.00 GiB of disk, but 1.00 GiB are free. It fits with "
        "`--replay.capacity 1000000` or `--env_steps 1000000` or `--replay.storage ram`."
    )


def test_disk_is_proposed_only_if_it_has_room():
    assert "storage" not in _refusal(memory=2 * GIB, disk=2 * GIB - 1)
    assert "storage disk" in _refusal(memory=2 * GIB, disk=2 * GIB)


@pytest.mark.parametrize("free", [0, GIB, GIB + 64 * 16 * 1024])
def test_where_not_even_one_window_fits(free):
    message = _refusal(memory=free, disk=0)
    assert message.endswith(
        "No setting of it fits; choose less for `model.size`, `seeds` or `env.num_envs`."
    )


@pytest.mark.parametrize("free_mib", [2, 7, 33, 150, 999, 1800])
def test_what_is_proposed_fits_and_hardly_more_would(free_mib):
    free, step = free_mib * MIB, 16 * 1024
    message = _refusal(memory=GIB + free)
    capacity = int(re.findall(r"capacity (\d+)", message)[0])
    env_steps = int(re.findall(r"env_steps (\d+)", message)[0])
    assert step * stream_length(16, 65, capacity, 131_072) <= free
    assert step * stream_length(16, 65, 5_000_000, -(-env_steps // 16)) <= free
    assert step * stream_length(16, 65, int(1.11 * capacity) + 16, 131_072) > free
    assert step * stream_length(16, 65, 5_000_000, int(1.11 * env_steps / 16) + 1) > free
