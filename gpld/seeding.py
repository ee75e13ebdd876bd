"""Independent random streams from one seed, by name."""

import zlib

import numpy as np


def derive_seed(seed: int, name: str, index: int = 0) -> int:
    """Seed of one of a run's streams.

    Args:
        seed: Seed of the run, at least 0.
        name: Name of the stream, such as "collect" or "evaluate".
        index: Number within the stream, at least 0.

    Returns:
        A number below 2**32, unrelated to those of other names and indices.
    """
    entropy = (seed, zlib.crc32(name.encode()), index)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
