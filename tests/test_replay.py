"""Replay against a slow model of it: plain lists of steps."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st

from gpld.replay import Replay, StepSpec, TrainRatio, stream_length

FALSE_ALARM = 1e-8
SPECS = {
    "stream": StepSpec((), np.dtype(int)),
    "time": StepSpec((), np.dtype(int)),
    "image": StepSpec((2, 3), np.dtype(np.uint8)),
    "latent": StepSpec((2,), np.dtype(np.float32)),
    "is_first": StepSpec((), np.dtype(bool)),
    "is_last": StepSpec((), np.dtype(bool)),
}


class ListReplay:
    """What a replay should hold: every step of every stream, and the oldest one kept."""

    def __init__(self, num_streams, window, capacity, max_steps):
        self.streams = [[] for _ in range(num_streams)]
        self.window = window
        self.kept = max(window, min(max_steps, capacity // num_streams + window - 1))

    def add(self, steps):
        for i, stream in enumerate(self.streams):
            stream.append({name: np.copy(values[i]) for name, values in steps.items()})

    @property
    def oldest(self):
        return max(0, len(self.streams[0]) - self.kept)

    def starts(self):
        return range(self.oldest, len(self.streams[0]) - self.window + 1)

    def windows(self):
        return {(i, start) for i in range(len(self.streams)) for start in self.starts()}


def _steps(num_streams, time, rng=None):
    rng = rng or np.random.default_rng(0)
    shape = (num_streams,)
    return {
        "stream": np.arange(num_streams),
        "time": np.full(shape, time),
        "image": rng.integers(256, size=(*shape, 2, 3)).astype(np.uint8),
        "latent": rng.normal(size=(*shape, 2)).astype(np.float32),
        "is_first": rng.random(shape) < 0.3,
        "is_last": rng.random(shape) < 0.3,
    }


def _filled(num_steps, *, num_streams=1, window=3, capacity=1000, max_steps=1000, **kwargs):
    replay = Replay(
        SPECS,
        num_streams=num_streams,
        window=window,
        capacity=capacity,
        max_steps=max_steps,
        **kwargs,
    )
    for time in range(num_steps):
        replay.add(_steps(num_streams, time))
    return replay


# The whole of it


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_replay_equals_a_list_of_steps(data):
    """Any order of adding, sampling and refreshing, with and without dropped steps."""
    integers = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    num_streams, window = integers(1, 3), integers(2, 4)
    capacity, max_steps = integers(num_streams, 12 * num_streams), integers(1, 30)
    sizes = {"window": window, "capacity": capacity, "max_steps": max_steps}
    replay = Replay(SPECS, num_streams=num_streams, online=data.draw(st.booleans()), **sizes)
    model = ListReplay(num_streams, **sizes)
    rng = np.random.default_rng(0)
    samples = []
    for time in range(integers(0, 25)):
        steps = _steps(num_streams, time, rng)
        replay.add(steps)
        model.add(steps)
        assert replay.num_windows == len(model.windows())
        if not model.windows():
            continue
        if data.draw(st.booleans()):
            samples.append(replay.sample(integers(1, 4)))
            _check(samples[-1], model)
        if samples and data.draw(st.booleans()):
            sample = data.draw(st.sampled_from(samples))
            latent = rng.normal(size=(sample.start.size, window - 1, 2)).astype(np.float32)
            replay.refresh(sample, {"latent": latent})
            for stream, start, values in zip(sample.stream, sample.start, latent, strict=True):
                for i, value in enumerate(values, start=1):
                    model.streams[stream][start + i]["latent"] = value
    if model.windows():
        _check(replay.sample(50), model)


def _check(sample, model):
    assert {(i, s) for i, s in zip(sample.stream, sample.start, strict=True)} <= model.windows()
    for row, (stream, start) in enumerate(zip(sample.stream, sample.start, strict=True)):
        window = model.streams[stream][start : start + model.window]
        for name, values in sample.steps.items():
            expected = np.array([step[name] for step in window])
            if name == "is_last":
                expected[:-1] |= [step["is_first"] for step in window[1:]]
            np.testing.assert_array_equal(values[row], expected, err_msg=name)


# Which windows there are


def test_the_first_window_appears_with_its_last_step():
    replay = _filled(2, num_streams=2)
    assert replay.num_windows == 0
    with pytest.raises(ValueError, match="needs at least 3 steps per stream, got 2"):
        replay.sample(1)
    replay.add(_steps(2, 2))
    assert replay.num_windows == 2
    assert set(replay.sample(30).start) == {0}


def test_capacity_counts_windows_of_all_streams():
    # 8 windows for two streams: 4 each, which need 4 + 3 - 1 = 6 steps.
    replay = _filled(20, num_streams=2, capacity=8, online=False)
    assert replay.num_windows == 8
    sample = replay.sample(500)
    assert set(sample.start) == {14, 15, 16, 17}
    np.testing.assert_array_equal(sample.steps["time"], sample.start[:, None] + np.arange(3))
    np.testing.assert_array_equal(sample.steps["stream"], np.tile(sample.stream, (3, 1)).T)


def test_no_more_memory_is_taken_than_a_run_can_fill():
    assert stream_length(num_streams=16, window=65, capacity=5_000_000, max_steps=31_250) == 31_250
    assert stream_length(num_streams=16, window=65, capacity=160_000, max_steps=31_250) == 10_064
    assert stream_length(num_streams=1, window=65, capacity=5, max_steps=10) == 69 - 4
    replay = _filled(10, capacity=1000, max_steps=10, online=False)
    assert set(replay.sample(500).start) == set(range(8))


def test_capacity_of_at_least_one_window_per_stream():
    with pytest.raises(ValueError, match=r"`capacity` must hold a window for each of 3 .* got 2"):
        _filled(0, num_streams=3, capacity=2)


def test_windows_are_drawn_uniformly():
    replay = _filled(12, num_streams=3, capacity=18, online=False)  # 6 windows each
    sample = replay.sample(30_000)
    counts = np.bincount(6 * sample.stream + sample.start - sample.start.min(), minlength=18)
    assert counts.size == 18
    statistic = np.sum((counts - 30_000 / 18) ** 2) / (30_000 / 18)
    assert statistic < scipy.stats.chi2.isf(FALSE_ALARM, 17)


def test_the_seed_decides_what_is_drawn():
    starts = [_filled(200, online=False, seed=seed).sample(50).start for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.any(starts[0] != starts[2])


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
    replay = _filled(3)
    replay.sample(1).steps["image"][:] = 0
    assert replay.sample(1).steps["image"].any()


# The online queue


def test_every_window_length_a_window_is_served_once():
    replay = _filled(0, num_streams=2, window=4)
    served = []
    for time in range(20):
        replay.add(_steps(2, time))
        while replay._queue:
            sample = replay.sample(1)
            served.append((time, int(sample.stream[0]), int(sample.start[0])))
    # Windows that begin at 1, 5, 9, 13, when their last step is added; never the one at 0.
    expected = [(start + 3, stream, start) for start in (1, 5, 9, 13) for stream in (0, 1)]
    assert served == expected


def test_the_queue_comes_first_and_in_order():
    replay = _filled(11, num_streams=2, window=4)  # 1 and 5 of either stream are waiting
    sample = replay.sample(3)
    np.testing.assert_array_equal(sample.stream, [0, 1, 0])
    np.testing.assert_array_equal(sample.start, [1, 1, 5])
    sample = replay.sample(40)
    assert (sample.stream[0], sample.start[0]) == (1, 5)
    assert len(set(sample.start[1:])) > 2  # the rest is drawn


def test_the_queue_skips_windows_that_were_dropped():
    replay = _filled(14, window=4, capacity=5)  # starts 1 and 5 are gone, 9 is not
    sample = replay.sample(1)
    assert sample.start[0] == 9


def test_without_the_queue_all_is_drawn():
    replay = _filled(500, online=False)
    assert len(set(replay.sample(100).start)) > 50


# Refreshing


def _latents(replay):
    """Stored latents by time, of a replay with one stream and windows of three steps."""
    sample = replay.sample(300)
    pairs = zip(sample.steps["time"].ravel(), sample.steps["latent"].reshape(-1, 2), strict=True)
    return {int(time): value for time, value in pairs}


def test_refresh_leaves_the_context_and_the_rest():
    replay = _filled(8, online=False)
    before, sample = _latents(replay), replay.sample(1)
    start = int(sample.start[0])
    replay.refresh(sample, {"latent": np.array([[[1, 2], [3, 4]]], np.float32)})
    after = _latents(replay)
    expected = before | {start + 1: np.array([1, 2]), start + 2: np.array([3, 4])}
    np.testing.assert_equal(after, expected)


def test_the_last_of_overlapping_windows_wins():
    replay = _filled(8, online=False)
    sample = replay.sample(3)._replace(start=np.array([2, 3, 2]), stream=np.zeros(3, int))
    values = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    replay.refresh(sample, {"latent": np.stack([values, values], axis=-1)})
    after = _latents(replay)
    np.testing.assert_array_equal([after[t][0] for t in (3, 4, 5)], [5, 6, 4])


def test_dropped_steps_are_not_refreshed():
    replay = _filled(8, capacity=6, online=False)  # keeps 8 steps
    sample = replay.sample(1)._replace(start=np.array([0]))
    for time in (8, 9):  # steps 0 and 1 give way to these
        replay.add(_steps(1, time))
    before = _latents(replay)
    replay.refresh(sample, {"latent": np.array([[[1, 2], [3, 4]]], np.float32)})
    np.testing.assert_equal(_latents(replay), before | {2: np.array([3, 4])})


# Adding


def test_steps_must_have_the_specified_names_and_shapes():
    replay = _filled(0, num_streams=2)
    steps = _steps(2, 0)
    with pytest.raises(ValueError, match=r"`steps` must have the names .*'time'.*, got \["):
        replay.add({name: steps[name] for name in steps if name != "time"})
    with pytest.raises(ValueError, match=r"`image` must have shape \(2, 2, 3\), got \(1, 2, 3\)"):
        replay.add(steps | {"image": steps["image"][:1]})


def test_bytes_of_a_step():
    assert SPECS["image"].nbytes == 6
    assert SPECS["latent"].nbytes == 8
    assert SPECS["is_first"].nbytes == 1


# How many updates are due


@pytest.mark.parametrize(
    ("env_step", "updates"),
    [
        (0, 0),
        (1025, 0),
        (2047, 0),
        (2048, 1),
        (2049, 1),
        (2050, 2),
        (50_000, 23_977),
        (250_000, 123_977),
        (500_000, 248_977),
    ],
)
def test_updates_of_the_paper(env_step, updates):
    ratio = TrainRatio(num_streams=16, window=65, min_windows=1024, ratio=0.5)
    assert ratio.updates_due(env_step) == updates


@pytest.mark.parametrize("ratio", [0.5, 1.0, 0.25, 2.5])
@pytest.mark.parametrize(("num_streams", "window", "min_windows"), [(16, 65, 1024), (3, 5, 10)])
def test_updates_equal_those_of_a_trigger_after_every_transition(
    num_streams, window, min_windows, ratio
):
    """SPEC 9.4: wait for the windows, update once, then follow without catching up."""
    due = TrainRatio(
        num_streams=num_streams, window=window, min_windows=min_windows, ratio=ratio
    ).updates_due
    lengths, updates, reference = [0] * num_streams, 0, None
    for env_step in range(1, 4001):
        lengths[(env_step - 1) % num_streams] += 1
        if sum(max(0, length - window + 1) for length in lengths) >= min_windows:
            if reference is None:
                updates, reference = 1, Fraction(env_step)
            else:
                repeats = int((env_step - reference) * Fraction(ratio))
                reference += repeats / Fraction(ratio)
                updates += repeats
        assert due(env_step) == updates
    assert updates > 0
