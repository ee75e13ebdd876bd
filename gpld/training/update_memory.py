"""Memory of an update: what its program needs beside its arguments, without compiling it."""

import math
from collections.abc import Mapping

from ..agent import choices
from ..config import Config
from ..models import NUM_BINS


def update_temporaries(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Estimate the bytes that an update of one agent needs beside its arguments and results.

    Each term is the largest thing that is in memory at one time: the states that an update imagines
    with the layers of all heads on them, or the world model on the replayed steps, or the pictures
    in it. The factors are those with which the sum is closest to what XLA has planned
    (`benchmarks/h100_described`, and CPUs), within 15 %. Several agents in one program take so
    much each, and several devices divide it.

    Args:
        config: Settings.
        shapes: Shape of each observation by its key, without batch axes.
    """
    chosen, model = choices(config), config.model
    # Where loops are split, the heads see all imagined states at once, and what passes between a
    # loop and the rest is there once more in the dtype of factors.
    split = chosen.rewrite and chosen.backend != "cpu"
    itemsize = {"float32": 4, "mixed": 4.3 if split else 3, "bfloat16": 2}[chosen.precision]
    steps = config.replay.batch_size * config.replay.batch_length
    feat = model.dims.deter + model.stoch * model.dims.classes
    states = steps * config.ac.imag_length if config.learn == "agent" else 0
    imagined = states * (2.75 * feat + 9.3 * NUM_BINS if split else 2.57 * feat + 5.65 * NUM_BINS)
    world_model = steps * (47 if split else 36) * model.dims.deter
    # The first convolution makes the most of a picture.
    pictures = sum(math.prod(shape[:2]) for shape in shapes.values() if len(shape) == 3)
    pictures *= steps * model.channels[0]
    if chosen.in_chunks:
        total = max(1.4 * imagined, world_model) + 0.5 * pictures
    else:
        beside = (1 if split else 30 / 36) * world_model
        total = max(imagined, world_model, 3.2 * pictures + beside)
    if config.gpld.coefficients and not chosen.row_by_row:
        # Classes are passes of their own in `exact`, as probes are in `rowwise`.
        passes = {"exact": model.dims.classes, "rowwise": config.gpld.num_probes}
        rows = config.gpld.rho * steps * (config.gpld.rows or model.stoch)
        # What is above has room for one pass.
        total += 5 * (passes.get(config.gpld.estimator, 1) - 1) * rows * model.dims.hidden
    if config.seeds > 1 and config.devices > 1:
        total *= 1.2  # XLA plans a program of several agents less tightly when it divides it
    return round(itemsize * total)
