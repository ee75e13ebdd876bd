"""Replay on the device against replay on the host: the same steps, windows, flags and latents."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from driven_replay import DrivenReplay as DeviceReplay
from hypothesis import given, settings, strategies as st
from list_replay import MUTABLE, SPECS, random_latents, random_steps

from gpld.replay import Replay, ReplayStore, Sample, device_replay, functional
from gpld.training.source import take_over

FALSE_ALARM = 1e-8
# Each is compiled for: windows that fill the ring, rings that overflow, and one that does not.
SIZES = [
    {"num_streams": 1, "window": 3, "capacity": 1, "max_steps": 100},
    {"num_streams": 2, "window": 4, "capacity": 9, "max_steps": 100},
    {"num_streams": 3, "window": 2, "capacity": 30, "max_steps": 100},
    {"num_streams": 2, "window": 3, "capacity": 1000, "max_steps": 40},
]


read = jax.jit(functional.read, static_argnums=1, static_argnames="context_only")


def make(kind, sizes=SIZES[1], **kwargs):
    return kind(SPECS, **sizes, mutable=MUTABLE, **kwargs)


def fill(replays, num_steps, seed=0):
    rng = np.random.default_rng(seed)
    for time in range(replays[0].num_added, replays[0].num_added + num_steps):
        steps = random_steps(replays[0].ring.num_streams, time, rng)
        for replay in replays:
            replay.add(steps)
    return replays


def contents(replay):
    """Every stored step, from the oldest on, as bytes: bfloat16 cannot be compared."""
    ring = replay.ring
    times = np.arange(ring.oldest, ring.num_added) % ring.length
    return {name: np.asarray(x)[:, times].tobytes() for name, x in ring.arrays.items()}


def windows(replay):
    """All windows that can be drawn."""
    starts = np.arange(replay.ring.oldest, replay.num_added - replay.window + 1)
    streams = np.arange(replay.ring.num_streams)
    return [x.ravel() for x in np.meshgrid(streams, starts, indexing="ij")]


def check_windows(device, host):
    """That all windows hold the same, flags included."""
    streams, starts = (np.resize(x, 80) for x in windows(host))  # one program for all
    expected = host._read(streams, starts, ())
    expected["is_last"][:, :-1] |= expected["is_first"][:, 1:]
    where = functional.Windows(jnp.asarray(streams, jnp.int32), jnp.asarray(starts, jnp.int32))
    actual = read(device.ring.arrays, device.layout, where)
    for name, values in expected.items():
        assert np.asarray(actual[name]).tobytes() == values.tobytes(), name


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_order_of_adding_drawing_and_refreshing(data):
    sizes, online = data.draw(st.sampled_from(SIZES)), data.draw(st.booleans())
    device, host = make(DeviceReplay, sizes, online=online), make(Replay, sizes, online=online)
    rng = np.random.default_rng(0)
    samples = []
    for time in range(data.draw(st.integers(0, 25))):
        steps = random_steps(sizes["num_streams"], time, rng)
        device.add(steps)
        host.add(steps)
        assert (device.num_added, device.num_windows) == (host.num_added, host.num_windows)
        if host.num_windows == 0:
            continue
        for _ in range(data.draw(st.integers(0, 2))):
            sample = device.sample(data.draw(st.sampled_from([1, 4])))
            samples.append(sample)
            assert set(zip(sample.stream, sample.start, strict=True)) <= set(
                zip(*windows(host), strict=True)
            )
        if samples and data.draw(st.booleans()):
            sample = data.draw(st.sampled_from(samples))
            latents = random_latents((sample.start.size, host.window - 1), rng)
            device.refresh(sample, latents)
            host.refresh(sample, latents)
    assert contents(device) == contents(host)
    if host.num_windows:
        check_windows(device, host)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_online_queue_serves_the_same_windows(data):
    """In the same order, and skips those that were dropped; afterwards all is drawn."""
    sizes = data.draw(st.sampled_from(SIZES[1:]))
    device, host = make(DeviceReplay, sizes), make(Replay, sizes)
    rng = np.random.default_rng(0)
    for time in range(data.draw(st.integers(8, 30))):
        steps = random_steps(sizes["num_streams"], time, rng)
        device.add(steps)
        host.add(steps)
        if host.num_windows and data.draw(st.booleans()):
            waiting = host._places(host._queue()[:4]).T.tolist()
            for replay in (device, host):
                sample = replay.sample(4)
                found = np.stack([sample.stream, sample.start], axis=1).tolist()
                assert found[: len(waiting)] == waiting
            first, stop = functional._queue(device.counters, device.layout)
            assert max(0, int(stop - first)) == len(host._queue())


def test_windows_are_drawn_uniformly():
    [replay] = fill([make(DeviceReplay, online=False)], 12)
    sample = replay.sample(30_000)
    assert set(sample.start) == set(range(replay.ring.oldest, 12 - 4 + 1))
    counts = np.bincount(4 * sample.stream + sample.start - sample.start.min(), minlength=8)
    assert counts.size == 8
    statistic = np.sum((counts - 30_000 / 8) ** 2) / (30_000 / 8)
    assert statistic < scipy.stats.chi2.isf(FALSE_ALARM, 7)


def test_seed_and_number_of_samples_decide_what_is_drawn():
    replays = [make(DeviceReplay, SIZES[3], online=False, seed=seed) for seed in (0, 0, 1)]
    first = [replay.sample(50) for replay in fill(replays, 30)]
    np.testing.assert_array_equal(first[0].start, first[1].start)
    assert np.any(first[0].start != first[2].start)
    assert np.any(first[0].start != replays[0].sample(50).start)


def test_of_some_arrays_only_the_context_is_read():
    replays = fill([make(DeviceReplay, seed=1) for _ in range(2)], 12)
    expected = replays[0].sample(4)
    actual = replays[1].sample(4, context_only=MUTABLE)
    for name, values in expected.steps.items():
        length = 1 if name in MUTABLE else 4
        assert actual.steps[name].tobytes() == values[:, :length].tobytes()


def test_the_last_of_overlapping_windows_wins_for_each_step():
    device, host = fill([make(kind, SIZES[3], online=False) for kind in (DeviceReplay, Replay)], 9)
    # Twice the same, one in the middle of others, and another stream at the same steps.
    starts, streams = np.array([2, 3, 2, 4, 3, 3]), np.array([0, 0, 0, 0, 1, 0])
    sample = Sample({}, streams, starts)
    latents = random_latents((6, 2), np.random.default_rng(1))
    device.refresh(sample, latents)
    host.refresh(sample, latents)
    assert contents(device) == contents(host)


def test_dropped_steps_are_not_refreshed():
    replays = fill([make(kind, SIZES[0]) for kind in (DeviceReplay, Replay)], 3)
    sample = replays[0].sample(1)
    fill(replays, 2)  # one step of the window is left
    before = contents(replays[0])
    latents = random_latents((1, 2), np.random.default_rng(1))
    for replay in replays:
        replay.refresh(sample, latents)
    assert contents(replays[0]) == contents(replays[1]) != before


def test_what_a_mask_leaves_out_is_not_written():
    [replay] = fill([make(DeviceReplay)], 8)
    sample = replay.sample(2)
    where = functional.Windows(*map(jnp.asarray, (sample.stream, sample.start)))
    latents = random_latents((2, 3), np.random.default_rng(1))
    latents = jax.tree.map(jnp.asarray, latents)
    for mask, changes in ((False, False), (True, True)):
        new = functional.refresh(
            replay.ring.arrays, replay.counters, replay.layout, where, latents, where=mask
        )
        same = [np.array_equal(new[k], x) for k, x in replay.ring.arrays.items() if k in MUTABLE]
        assert all(same) is not changes


def test_an_empty_replay_takes_no_memory_and_a_full_one_what_it_says():
    sizes = {"num_streams": 1000, "window": 65, "capacity": 10**9, "max_steps": 10**6}
    assert make(DeviceReplay, sizes).nbytes == 10**9 * sum(spec.nbytes for spec in SPECS.values())
    [replay] = fill([make(DeviceReplay)], 1)
    assert replay.nbytes == sum(x.nbytes for x in replay.ring.arrays.values())
    assert isinstance(replay.ring.arrays["time"], jax.Array)


# Saving


def test_a_saved_replay_goes_on_as_if_nothing_had_happened(tmp_path):
    """Also one that has overflowed, and one that was saved before and has changed since."""
    store = ReplayStore(tmp_path, chunk_bytes=200)
    replay = make(DeviceReplay, seed=2)
    for num_steps in (3, 9):
        fill([replay], num_steps, seed=num_steps)
        snapshot = store.snapshot(replay)
        before = contents(replay)
        manifest = None
        if replay.num_windows:  # what happens while it is written does not matter
            other = make(DeviceReplay, seed=2)
            manifest = snapshot.write()
            ReplayStore(tmp_path).load(manifest, other)
            assert contents(other) == before
            for goes_on in (replay, other):
                fill([goes_on], 3, seed=1)
                sample = goes_on.sample(4)
                latents = random_latents((4, 3), np.random.default_rng(3))
                goes_on.refresh(sample, latents)
            assert contents(replay) == contents(other) != before
            assert replay.get_state() == other.get_state()
        else:
            snapshot.write()


@pytest.mark.parametrize("kind", [DeviceReplay, Replay])
def test_a_replay_of_either_loop_can_be_learned_from_offline(tmp_path, kind):
    """Also on the host, where offline runs are trained: queues and random numbers are new."""
    (saved,) = fill([make(kind)], 30)
    store = ReplayStore(tmp_path)
    manifest = json.loads(json.dumps(store.snapshot(saved).write()))
    replay, twin = make(Replay, seed=5), make(Replay, seed=5)
    take_over(tmp_path, manifest, replay)
    assert contents(replay) == contents(saved)
    state, fresh = replay.get_state(), twin.get_state()
    assert (state["num_added"], state["queue"], state["rng"]) == (30, [], fresh["rng"])


def test_a_snapshot_holds_what_was_there_when_it_was_made(tmp_path):
    store = ReplayStore(tmp_path)
    [replay] = fill([make(DeviceReplay)], 8)
    before, snapshot = contents(replay), store.snapshot(replay)
    sample = replay.sample(4)
    replay.refresh(sample, random_latents((4, 3), np.random.default_rng(3)))
    fill([replay], 4)
    loaded = make(DeviceReplay)
    ReplayStore(tmp_path).load(snapshot.write(), loaded)
    assert contents(loaded) == before != contents(replay)


@pytest.mark.parametrize("place", [0, 2])
def test_a_replay_among_several_is_saved_from_where_it_lies(tmp_path, monkeypatch, place):
    [one] = fill([make(DeviceReplay)], 12)
    arrays = {
        k: jnp.stack([x * (i == place) for i in range(3)]) for k, x in one.ring.arrays.items()
    }
    copied = []
    part = device_replay._part
    monkeypatch.setattr(device_replay, "_part", lambda *args: copied.append(y := part(*args)) or y)
    among = make(DeviceReplay)
    among.changed(arrays, one.counters, place=place)
    snapshot = ReplayStore(tmp_path, chunk_bytes=200).snapshot(among)
    among.ring.take()  # the program goes on with the arrays
    loaded = make(DeviceReplay)
    ReplayStore(tmp_path).load(snapshot.write(), loaded)
    assert contents(loaded) == contents(one)
    # The device has held one part at a time, of one replay, rounded up to a power of two.
    assert max(x.nbytes for x in copied) <= 2 * 200
    whole = sum(x[:, : one.num_added - one.ring.oldest].nbytes for x in one.ring.arrays.values())
    assert whole <= sum(x.nbytes for x in copied) < 2 * whole


def test_saving_again_compiles_nothing(tmp_path):
    """Chunks of a ring that wraps are cut in ever new places."""
    store, [replay] = ReplayStore(tmp_path, chunk_bytes=200), [make(DeviceReplay)]
    for num_steps in (40, 7):
        fill([replay], num_steps, seed=num_steps)
        store.snapshot(replay).write()
    before = device_replay._part._cache_size()
    for num_steps in (5, 11, 3, 8, 6):
        fill([replay], num_steps, seed=num_steps)
        store.snapshot(replay).write()
    assert device_replay._part._cache_size() - before <= 2 * len(SPECS)


def test_what_is_saved_already_is_not_copied_again(tmp_path, monkeypatch):
    store = ReplayStore(tmp_path, chunk_bytes=200)
    [replay] = fill([make(DeviceReplay, SIZES[3])], 20)
    store.snapshot(replay).write()
    fill([replay], 1)
    names = []
    copy = device_replay.DeviceRing.on_host
    monkeypatch.setattr(
        device_replay.DeviceRing, "on_host", lambda *args: names.append(args[1]) or copy(*args)
    )
    store.snapshot(replay)
    never = sum("time" in group for group in names)
    assert 1 <= never <= 2 < len(names)


def test_files_of_steps_that_never_change_are_written_once(tmp_path):
    store = ReplayStore(tmp_path, chunk_bytes=200)
    [replay] = fill([make(DeviceReplay, SIZES[3])], 20)
    first = store.snapshot(replay).write()
    fill([replay], 1)
    second = store.snapshot(replay).write()
    names = [{f["name"] for f in m["files"] if f["group"] == "immutable"} for m in (first, second)]
    assert len(names[0] & names[1]) >= len(names[0]) - 1 > 1


def test_a_shorter_replay_loads_the_newest_steps(tmp_path):
    [replay] = fill([make(DeviceReplay, SIZES[3])], 30)
    manifest = ReplayStore(tmp_path).snapshot(replay).write()
    shorter = make(DeviceReplay, SIZES[3] | {"capacity": 20})
    ReplayStore(tmp_path).load(manifest, shorter)
    assert (shorter.num_added, shorter.ring.oldest) == (30, 30 - 12)
    assert set(shorter.sample(300).start) == set(range(18, 28))
