"""Replay against a slow model of it: plain lists of steps."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st
from list_replay import (
    SPECS,
    ListReplay,
    empty_replay,
    filled_replay,
    random_latents,
    random_steps,
)

from gpld.replay import Replay, stream_length

FALSE_ALARM = 1e-8
# Of a replay with seed 3: the online queue, then what is drawn.
RECORDED = {
    "stream": [
        [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3],
        [3, 0, 0, 0, 0, 3, 3, 2, 0, 0, 1, 1, 2, 1, 1, 0, 2, 2, 0, 0],
        [1, 1, 3, 2, 1, 1, 2, 2, 0, 2, 3, 3, 3, 1, 1, 2, 2, 2, 3, 1],
    ],
    "start": [
        [31, 31, 31, 31, 36, 36, 36, 36, 41, 41, 41, 41, 46, 46, 46, 46, 51, 51, 51, 51],
        [37, 39, 48, 54, 49, 36, 42, 39, 34, 40, 39, 49, 43, 53, 32, 46, 50, 54, 34, 42],
        [51, 45, 44, 32, 48, 49, 47, 39, 48, 54, 31, 51, 34, 34, 37, 45, 46, 50, 42, 35],
    ],
}


# The whole of it


@settings(max_examples=60, deadline=None)
@given(st.data())
@pytest.mark.parametrize("storage", ["ram", "disk"])
def test_replay_equals_a_list_of_steps(storage, data):
    """Any order of adding, sampling and refreshing, with and without dropped steps."""
    integers = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    num_streams, window = integers(1, 3), integers(2, 4)
    capacity, max_steps = integers(num_streams, 12 * num_streams), integers(1, 30)
    sizes = {"num_streams": num_streams, "window": window, "capacity": capacity}
    sizes["max_steps"] = max_steps
    folder = Path(tempfile.gettempdir()) if storage == "disk" else None
    replay = empty_replay(**sizes, online=data.draw(st.booleans()), folder=folder)
    model = ListReplay(**sizes)
    rng = np.random.default_rng(0)
    samples = []
    for time in range(integers(0, 25)):
        steps = random_steps(num_streams, time, rng)
        replay.add(steps)
        model.add(steps)
        assert replay.num_windows == len(model.windows())
        if not model.windows():
            continue
        if data.draw(st.booleans()):
            samples.append(replay.sample(integers(1, 4)))
            model.check_sample(samples[-1])
        if samples and data.draw(st.booleans()):
            sample = data.draw(st.sampled_from(samples))
            latents = random_latents((sample.start.size, window - 1), rng)
            replay.refresh(sample, latents)
            model.refresh(sample, latents)
    model.check_contents(replay)
    if model.windows():
        model.check_sample(replay.sample(50))


# Which windows there are


def test_the_first_window_appears_with_its_last_step():
    replay = filled_replay(2, num_streams=2)
    assert replay.num_windows == 0
    with pytest.raises(ValueError, match="needs at least 3 steps per stream, got 2"):
        replay.sample(1)
    replay.add(random_steps(2, 2))
    assert replay.num_windows == 2
    assert set(replay.sample(30).start) == {0}


def test_capacity_counts_windows_of_all_streams():
    # 8 windows for two streams: 4 each, which need 4 + 3 - 1 = 6 steps.
    replay = filled_replay(20, num_streams=2, capacity=8, online=False)
    assert replay.num_windows == 8
    sample = replay.sample(500)
    assert set(sample.start) == {14, 15, 16, 17}
    np.testing.assert_array_equal(sample.steps["time"], sample.start[:, None] + np.arange(3))
    np.testing.assert_array_equal(sample.steps["stream"], np.tile(sample.stream, (3, 1)).T)


def test_no_more_memory_is_taken_than_a_run_can_fill():
    assert stream_length(num_streams=16, window=65, capacity=5_000_000, max_steps=31_250) == 31_250
    assert stream_length(num_streams=16, window=65, capacity=160_000, max_steps=31_250) == 10_064
    assert stream_length(num_streams=1, window=65, capacity=5, max_steps=10) == 69 - 4
    replay = filled_replay(10, capacity=1000, max_steps=10, online=False)
    assert set(replay.sample(500).start) == set(range(8))


def test_capacity_of_at_least_one_window_per_stream():
    with pytest.raises(ValueError, match=r"`capacity` must hold a window for each of 3 .* got 2"):
        empty_replay(num_streams=3, capacity=2)


@pytest.mark.parametrize("name", ["num_streams", "window"])
def test_sizes_are_at_least_one(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        empty_replay(**{name: 0})


def test_windows_are_drawn_uniformly():
    replay = filled_replay(12, num_streams=3, capacity=18, online=False)  # 6 windows each
    sample = replay.sample(30_000)
    counts = np.bincount(6 * sample.stream + sample.start - sample.start.min(), minlength=18)
    assert counts.size == 18
    statistic = np.sum((counts - 30_000 / 18) ** 2) / (30_000 / 18)
    assert statistic < scipy.stats.chi2.isf(FALSE_ALARM, 17)


def test_the_seed_decides_what_is_drawn():
    starts = [filled_replay(200, online=False, seed=seed).sample(50).start for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.any(starts[0] != starts[2])


def test_windows_across_the_end_of_the_ring_are_whole():
    replay = filled_replay(17, capacity=8, online=False)  # 10 steps: the ring ends at step 10
    sample = replay.sample(200)
    assert set(sample.start) == set(range(7, 15))
    np.testing.assert_array_equal(sample.steps["time"], sample.start[:, None] + np.arange(3))


def test_the_windows_of_a_seed_stay_the_same():
    """Recorded when replay was one file: runs that were begun with it can be repeated."""
    replay = filled_replay(60, num_streams=4, window=5, capacity=100, seed=3)
    samples = [replay.sample(20) for _ in range(3)]
    streams = [sample.stream.tolist() for sample in samples]
    starts = [sample.start.tolist() for sample in samples]
    assert streams == RECORDED["stream"]
    assert starts == RECORDED["start"]


@pytest.mark.parametrize("num_steps", [10, 1000])  # across the end of the ring, and not
def test_of_some_arrays_only_the_context_is_read(num_steps):
    replays = [filled_replay(12, capacity=8, max_steps=num_steps, seed=1) for _ in range(2)]
    expected = replays[0].sample(20)
    actual = replays[1].sample(20, context_only=("latent", "time"))
    np.testing.assert_array_equal(actual.start, expected.start)
    for name, values in expected.steps.items():
        length = 1 if name in ("latent", "time") else 3
        np.testing.assert_array_equal(actual.steps[name], values[:, :length], err_msg=name)


# Episodes


def _flagged(flags):
    """The `is_last` of one window of steps with these `is_first` and `is_last`."""
    replay = Replay(
        {name: SPECS[name] for name in ("is_first", "is_last")},
        num_streams=1,
        window=len(flags),
        capacity=1,
        max_steps=100,
    )
    for is_first, is_last in flags:
        replay.add({"is_first": np.array([is_first]), "is_last": np.array([is_last])})
    return replay.sample(1).steps


def test_an_abandoned_episode_counts_as_ended():
    steps = _flagged([(True, False), (False, False), (True, False), (False, True)])
    np.testing.assert_array_equal(steps["is_last"], [[False, True, False, True]])
    np.testing.assert_array_equal(steps["is_first"], [[True, False, True, False]])


def test_the_first_step_of_a_window_says_nothing_about_its_last():
    steps = _flagged([(True, False), (False, False), (False, False)])
    assert not steps["is_last"].any()


def test_samples_are_copies():
    replay = filled_replay(3)
    replay.sample(1).steps["image"][:] = 0
    assert replay.sample(1).steps["image"].any()


# The online queue


def test_every_window_length_a_window_is_served_once():
    replay = empty_replay(num_streams=2, window=4)
    served = []
    for time in range(20):
        replay.add(random_steps(2, time))
        while replay._queue():
            sample = replay.sample(1)
            served.append((time, int(sample.stream[0]), int(sample.start[0])))
    # Windows that begin at 1, 5, 9, 13, when their last step is added; never the one at 0.
    expected = [(start + 3, stream, start) for start in (1, 5, 9, 13) for stream in (0, 1)]
    assert served == expected


def test_the_queue_comes_first_and_in_order():
    replay = filled_replay(11, num_streams=2, window=4)  # 1 and 5 of either stream are waiting
    sample = replay.sample(3)
    np.testing.assert_array_equal(sample.stream, [0, 1, 0])
    np.testing.assert_array_equal(sample.start, [1, 1, 5])
    sample = replay.sample(40)
    assert (sample.stream[0], sample.start[0]) == (1, 5)
    assert len(set(sample.start[1:])) > 2  # the rest is drawn


def test_the_queue_skips_windows_that_were_dropped():
    replay = filled_replay(14, window=4, capacity=5)  # starts 1 and 5 are gone, 9 is not
    sample = replay.sample(1)
    assert sample.start[0] == 9


def test_a_saved_queue_may_name_windows_that_were_dropped():
    """As states have it that were saved when the queue was a list."""
    replay = filled_replay(14, window=4, capacity=5)
    state = replay.get_state()
    assert state["queue"] == [[0, 9]]
    replay.set_state(state | {"queue": [[0, 1], [0, 5], [0, 9]]})
    assert replay.sample(1).start[0] == 9


def test_without_the_queue_all_is_drawn():
    replay = filled_replay(500, online=False)
    assert len(set(replay.sample(100).start)) > 50


# Refreshing


def _latents(replay):
    """Stored latents by time, of a replay with one stream and windows of three steps."""
    sample = replay.sample(300)
    pairs = zip(sample.steps["time"].ravel(), sample.steps["latent"].reshape(-1, 2), strict=True)
    return {int(time): value for time, value in pairs}


def test_refresh_leaves_the_context_and_the_rest():
    replay = filled_replay(8, online=False)
    before, sample = _latents(replay), replay.sample(1)
    start = int(sample.start[0])
    replay.refresh(sample, {"latent": np.array([[[1, 2], [3, 4]]], np.float32)})
    after = _latents(replay)
    expected = before | {start + 1: np.array([1, 2]), start + 2: np.array([3, 4])}
    np.testing.assert_equal(after, expected)


def test_the_last_of_overlapping_windows_wins():
    replay = filled_replay(8, online=False)
    sample = replay.sample(3)._replace(start=np.array([2, 3, 2]), stream=np.zeros(3, int))
    values = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    replay.refresh(sample, {"latent": np.stack([values, values], axis=-1)})
    after = _latents(replay)
    np.testing.assert_array_equal([after[t][0] for t in (3, 4, 5)], [5, 6, 4])


def test_dropped_steps_are_not_refreshed():
    replay = filled_replay(8, capacity=6, online=False)  # keeps 8 steps
    sample = replay.sample(1)._replace(start=np.array([0]))
    for time in (8, 9):  # steps 0 and 1 give way to these
        replay.add(random_steps(1, time))
    before = _latents(replay)
    replay.refresh(sample, {"latent": np.array([[[1, 2], [3, 4]]], np.float32)})
    np.testing.assert_equal(_latents(replay), before | {2: np.array([3, 4])})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": np.zeros((1, 2, 2, 3))}, r"must be among \['latent', .*got \['image'\]"),
        ({"latent": np.zeros((1, 3, 2))}, r"`latent` must have shape \(1, 2, 2\), got \(1, 3, 2\)"),
    ],
)
def test_only_mutable_arrays_are_refreshed(values, message):
    replay = filled_replay(8)
    with pytest.raises(ValueError, match=message):
        replay.refresh(replay.sample(1), values)


def test_mutable_arrays_must_be_stored_ones():
    with pytest.raises(ValueError, match=r"`mutable` must be among .*'image'.*, got \['pixels'\]"):
        empty_replay(mutable=["pixels"])


# Adding


def test_steps_must_have_the_specified_names_and_shapes():
    replay = empty_replay(num_streams=2)
    steps = random_steps(2, 0)
    with pytest.raises(ValueError, match=r"`steps` must have the names .*'time'.*, got \["):
        replay.add({name: steps[name] for name in steps if name != "time"})
    with pytest.raises(ValueError, match=r"`image` must have shape \(2, 2, 3\), got \(1, 2, 3\)"):
        replay.add(steps | {"image": steps["image"][:1]})
    assert replay.num_added == 0


def test_bytes_of_a_step_and_of_all():
    assert SPECS["image"].nbytes == 6
    assert SPECS["latent/deter"].nbytes == 6
    assert SPECS["is_first"].nbytes == 1
    replay = empty_replay(num_streams=2, capacity=8)  # 6 steps each
    assert replay.nbytes == 12 * sum(spec.nbytes for spec in SPECS.values())
