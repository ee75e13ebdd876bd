"""A slow, obviously correct model of a replay, and steps to fill both with."""

import copy
import threading

import ml_dtypes
import numpy as np

from gpld.replay import Replay, StepSpec, chunk_file, manifest as manifests

SPECS = {
    "stream": StepSpec((), np.dtype(np.int32)),
    "time": StepSpec((), np.dtype(np.int32)),
    "image": StepSpec((2, 3), np.dtype(np.uint8)),
    "latent": StepSpec((2,), np.dtype(np.float32)),
    "latent/deter": StepSpec((3,), np.dtype(ml_dtypes.bfloat16)),
    "is_first": StepSpec((), np.dtype(bool)),
    "is_last": StepSpec((), np.dtype(bool)),
}
MUTABLE = ("latent", "latent/deter")


class ListReplay:
    """What a replay should hold: every step of every stream, and the oldest one kept."""

    def __init__(self, num_streams, window, capacity, max_steps):
        self.streams = [[] for _ in range(num_streams)]
        self.window = window
        self.kept = max(window, min(max_steps, capacity // num_streams + window - 1))
        self.oldest = 0

    def add(self, steps):
        for i, stream in enumerate(self.streams):
            stream.append({name: np.copy(values[i]) for name, values in steps.items()})
        self.oldest = max(self.oldest, len(self.streams[0]) - self.kept)

    def refresh(self, sample, values):
        for row, (stream, start) in enumerate(zip(sample.stream, sample.start, strict=True)):
            for i in range(self.window - 1):
                step = self.streams[stream][start + 1 + i]
                step.update({name: new[row, i].copy() for name, new in values.items()})

    def starts(self):
        return range(self.oldest, len(self.streams[0]) - self.window + 1)

    def windows(self):
        return {(i, start) for i in range(len(self.streams)) for start in self.starts()}

    def copy(self):
        return copy.deepcopy(self)

    def check_sample(self, sample):
        """That windows exist, and have the right steps."""
        pairs = list(zip(sample.stream, sample.start, strict=True))
        assert set(pairs) <= self.windows()
        for row, (stream, start) in enumerate(pairs):
            window = self.streams[stream][start : start + self.window]
            for name, values in sample.steps.items():
                expected = np.array([step[name] for step in window])
                if name == "is_last":
                    expected[:-1] |= [step["is_first"] for step in window[1:]]
                np.testing.assert_array_equal(values[row], expected, err_msg=name)

    def check_contents(self, replay):
        """That a replay has exactly these steps."""
        ring = replay.ring
        assert (ring.num_added, ring.oldest) == (len(self.streams[0]), self.oldest)
        assert replay.num_windows == len(self.windows())
        for stream, steps in enumerate(self.streams):
            for time, step in list(enumerate(steps))[self.oldest :]:
                for name, expected in step.items():
                    actual = ring.arrays[name][stream, time % ring.length]
                    assert actual.tobytes() == expected.tobytes(), (name, stream, time)


def random_steps(num_streams, time, rng=None):
    rng = rng or np.random.default_rng(0)
    shape = (num_streams,)
    return {
        "stream": np.arange(num_streams, dtype=np.int32),
        "time": np.full(shape, time, np.int32),
        "image": rng.integers(256, size=(*shape, 2, 3)).astype(np.uint8),
        **random_latents(shape, rng),
        "is_first": rng.random(shape) < 0.3,
        "is_last": rng.random(shape) < 0.3,
    }


def random_latents(shape, rng):
    return {
        name: rng.normal(size=(*shape, *SPECS[name].shape)).astype(SPECS[name].dtype)
        for name in MUTABLE
    }


def empty_replay(*, num_streams=1, window=3, capacity=1000, max_steps=1000, **kwargs):
    return Replay(
        SPECS,
        num_streams=num_streams,
        window=window,
        capacity=capacity,
        max_steps=max_steps,
        **({"mutable": MUTABLE} | kwargs),
    )


def filled_replay(num_steps, *, num_streams=1, **kwargs):
    replay = empty_replay(num_streams=num_streams, **kwargs)
    rng = np.random.default_rng(0)
    for time in range(num_steps):
        replay.add(random_steps(num_streams, time, rng))
    return replay


def verify(folder, manifest):
    """Read all files of a saved replay."""
    for file in manifests.files(manifest):
        chunk_file.read(folder, file)


def pieces(snapshot):
    """Write a snapshot in pieces, between which whoever drives this may do something else.

    A generator, which returns the manifest; closing it ends the writing by an error.
    """
    goes_on, stopped, result = threading.Semaphore(0), threading.Semaphore(0), {}

    def between():
        stopped.release()
        goes_on.acquire()
        if "closed" in result:
            raise GeneratorExit

    def write():
        try:
            result["manifest"] = snapshot.write(between)
        except BaseException as error:
            result["error"] = error
        result["ended"] = True
        stopped.release()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        stopped.acquire()
        while "ended" not in result:
            yield
            goes_on.release()
            stopped.acquire()
    finally:
        if "ended" not in result:
            result["closed"] = True
            goes_on.release()
        thread.join()
    if "error" in result:
        raise result["error"]
    return result["manifest"]
