"""Saving at any moment, beside whatever goes on, and loading into another replay."""

import json
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from list_replay import (
    ListReplay,
    empty_replay,
    filled_replay,
    pieces,
    random_latents,
    random_steps,
    verify,
)

from gpld.replay import ReplayStore


class SavedReplay(RuleBasedStateMachine):
    """A replay that goes on while it is saved in pieces, and is resumed now and then.

    Beside it are the list model of its steps, and a log of all that was done, from which
    its twin is made that was never saved.
    """

    @initialize(data=st.data())
    def start(self, data):
        integers = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
        self.folder = Path(tempfile.mkdtemp())
        streams = integers(1, 3)
        self.sizes = {"num_streams": streams, "window": integers(2, 4)}
        self.sizes |= {"capacity": integers(streams, 12 * streams), "max_steps": integers(1, 40)}
        self.online = data.draw(st.booleans())
        self.chunk_bytes = integers(1, 500)
        self.replay = empty_replay(**self.sizes, online=self.online)
        self.model = ListReplay(**self.sizes)
        self.store = ReplayStore(self.folder / "steps", chunk_bytes=self.chunk_bytes)
        self.rng, self.log, self.parts = np.random.default_rng(0), [], None
        self.saved = []

    def teardown(self):
        shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 12))
    def add(self, count):
        for _ in range(count):
            streams = self.sizes["num_streams"]
            steps = random_steps(streams, self.replay.num_added, self.rng)
            self.replay.add(steps)
            self.model.add(steps)
            self.log.append(lambda twin, steps=steps: twin.add(steps))

    @precondition(lambda self: self.replay.num_windows > 0)
    @rule(size=st.integers(1, 4), refresh=st.booleans())
    def sample(self, size, refresh):
        sample = self.replay.sample(size)
        self.model.check_sample(sample)
        self.log.append(lambda twin: twin.sample(size))
        if refresh:
            latents = random_latents((size, self.sizes["window"] - 1), self.rng)
            self.replay.refresh(sample, latents)
            self.model.refresh(sample, latents)
            self.log.append(lambda twin: twin.refresh(sample, latents))

    @precondition(lambda self: self.parts is None)
    @rule()
    def snapshot(self):
        self.pending = self.store.snapshot(self.replay)
        self.parts = self._save(self.model.copy(), len(self.log))

    @precondition(lambda self: self.parts is not None)
    @rule(count=st.integers(1, 20))
    def write(self, count):
        for _ in range(count):
            if next(self.parts, "done") == "done":
                self.parts = None
                break

    @precondition(lambda self: self.parts is not None)
    @rule()
    def give_up(self):
        self.parts.close()
        self.pending.discard()
        self.parts = None

    def _save(self, model, moment):
        manifest = yield from pieces(self.pending)
        self.saved.append((json.loads(json.dumps(manifest)), model, self.log[:moment]))

    @precondition(lambda self: self.saved)
    @rule()
    def prune(self):
        self.saved = self.saved[-2:]
        self.store.prune([manifest for manifest, _, _ in self.saved])
        if self.parts is None:
            files = {file["name"] for manifest, _, _ in self.saved for file in manifest["files"]}
            assert {path.name for path in (self.folder / "steps").iterdir()} == files

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), disk=st.booleans())
    def resume(self, data, disk):
        """Everything after one of the snapshots is lost, and happens differently."""
        manifest, model, log = data.draw(st.sampled_from(self.saved))
        if self.parts is not None:
            self.give_up()
        folder = self.folder / "mapped" if disk else None
        self.replay = empty_replay(**self.sizes, online=self.online, folder=folder)
        self.store = ReplayStore(self.folder / "steps", chunk_bytes=data.draw(st.integers(1, 500)))
        verify(self.folder / "steps", manifest)
        self.store.load(manifest, self.replay)
        self.model, self.log = model.copy(), list(log)

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def load_into_another_size(self, data):
        manifest, model, _ = data.draw(st.sampled_from(self.saved))
        streams = self.sizes["num_streams"]
        sizes = self.sizes | {"capacity": data.draw(st.integers(streams, 20 * streams))}
        replay, expected = empty_replay(**sizes), ListReplay(**sizes)
        ReplayStore(self.folder / "steps").load(manifest, replay)
        expected.streams = model.streams
        expected.oldest = max(model.oldest, len(model.streams[0]) - expected.kept)
        expected.check_contents(replay)

    @invariant()
    def contents_are_right(self):
        self.model.check_contents(self.replay)

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def goes_on_like_its_twin(self, data):
        """One that was never saved draws the same from there on, bit for bit."""
        manifest, _, log = data.draw(st.sampled_from(self.saved))
        twin, replay = (empty_replay(**self.sizes, online=self.online) for _ in range(2))
        for do in log:
            do(twin)
        ReplayStore(self.folder / "steps").load(manifest, replay)
        assert replay.get_state() == twin.get_state()
        rng = np.random.default_rng(0)
        for _ in range(6):
            steps = random_steps(self.sizes["num_streams"], twin.num_added, rng)
            for either in (twin, replay):
                either.add(steps)
            if twin.num_windows:
                samples = [either.sample(3) for either in (twin, replay)]
                np.testing.assert_equal(samples[0], samples[1])


def test_saving_at_any_moment():
    run_state_machine_as_test(
        SavedReplay, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )


def test_saving_while_another_thread_goes_on(tmp_path):
    """Real threads, as many changes as fit in the time that writing takes."""
    sizes = {"num_streams": 4, "window": 20, "capacity": 3000, "max_steps": 10_000}
    replay, store = filled_replay(1000, **sizes), ReplayStore(tmp_path, chunk_bytes=4000)
    rng = np.random.default_rng(0)
    steps = random_steps(4, 0, rng)
    for _ in range(4):
        snapshot = store.snapshot(replay)
        expected = {name: array.copy() for name, array in replay.ring.arrays.items()}
        state, results = replay.get_state(), []
        writer = threading.Thread(target=lambda: results.append(snapshot.write()))  # noqa: B023
        writer.start()
        while writer.is_alive():
            sample = replay.sample(16)
            replay.refresh(sample, random_latents((16, 19), rng))
            replay.add(steps)
        writer.join()
        assert replay.num_added > state["num_added"]
        loaded = empty_replay(**sizes)
        store_of_loaded = ReplayStore(tmp_path)
        store_of_loaded.load(results[0], loaded)
        assert loaded.get_state() == state
        valid = np.arange(state["oldest"], state["num_added"]) % replay.ring.length
        for name, array in loaded.ring.arrays.items():
            np.testing.assert_array_equal(
                *(x[:, valid].astype(float) for x in (array, expected[name])), err_msg=name
            )


@pytest.mark.parametrize("parts", [0, 1, 3, 8, 20])
def test_a_ring_that_is_overwritten_as_a_whole_while_it_is_saved(tmp_path, parts):
    """All steps are refreshed, then dropped, after a part of them was written."""
    sizes = {"num_streams": 2, "window": 3, "capacity": 50, "online": False}
    replay, model = filled_replay(40, **sizes), ListReplay(2, 3, 50, 1000)
    rng = np.random.default_rng(0)
    for time in range(40):
        model.add(random_steps(2, time, rng))
    state = replay.get_state()
    writer = pieces(ReplayStore(tmp_path, chunk_bytes=300).snapshot(replay))
    for _ in range(parts):
        next(writer)
    replay.refresh(replay.sample(200), random_latents((200, 2), rng))
    for time in range(40, 80):
        replay.add(random_steps(2, time, rng))
        replay.refresh(replay.sample(5), random_latents((5, 2), rng))
    while True:
        try:
            next(writer)
        except StopIteration as end:
            manifest = end.value
            break
    loaded = empty_replay(**sizes)
    ReplayStore(tmp_path).load(manifest, loaded)
    model.check_contents(loaded)
    assert loaded.get_state() == state
