"""Cost of a whole update, with and without the penalty."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import agent
from ..config import Config
from ..losses import Batch
from ..models import StoredLatent
from .measure import Functions, Progress, Report, measure

BASELINE = "vanilla"

# Observations and actions of walker_walk.
SHAPES = {"height": (), "orientations": (14,), "velocity": (9,)}
ACTION_SIZE = 6


def benchmark_update(
    config: Config, *, repetitions: int, thorough: bool, progress: Progress
) -> Report:
    """Times whole updates: DreamerV3's, and GPLD's by estimator.

    Args:
        config: Settings.
        repetitions: How often everything is timed.
        thorough: Whether to time the literal path of `rowwise` as well.
        progress: Is told what happens.

    Returns:
        The report; its baseline is the update without penalty.
    """
    variants = {
        BASELINE: {"lambda0": 0.0},
        "rowwise": {"estimator": "rowwise"},
        "joint": {"estimator": "joint"},
    }
    if thorough:
        variants["rowwise, literal"] = {"estimator": "rowwise", "path": "literal"}
    init = jax.jit(lambda key: agent.init(config, SHAPES, ACTION_SIZE, key=key))
    state, batch = init(jr.key(0)), random_batch(config)

    def update_of(changes):
        gpld = dataclasses.replace(config.gpld, **changes)
        variant = dataclasses.replace(config, gpld=gpld)

        def update(state, batch, key):
            return agent.update(state, batch, config=variant, key=key)

        return update, (state, batch, jr.key(1))

    functions: Functions = {name: update_of(changes) for name, changes in variants.items()}
    settings = {
        "size": config.model.size,
        "batch": [config.replay.batch_size, config.replay.batch_length],
        "imag_length": config.ac.imag_length,
        "rho": config.gpld.rho,
        "dtype": str(agent.compute_dtype(config)),
        "repetitions": repetitions,
    }
    measurements = measure(functions, repetitions=repetitions, progress=progress)
    return Report("update", settings, measurements, BASELINE)


def random_batch(config: Config) -> Batch:
    """A batch of noise in the shapes of walker_walk."""
    rng = np.random.default_rng(0)
    shape = (config.replay.batch_size, config.replay.batch_length)
    model = config.model

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    flags = jnp.zeros(shape, bool)
    classes = rng.integers(model.dims.classes, size=(shape[0], model.stoch))
    return Batch(
        observation={name: normal(*shape, *size) for name, size in SHAPES.items()},
        prev_action=normal(*shape, ACTION_SIZE),
        reward=normal(*shape),
        is_first=flags,
        is_last=flags,
        is_terminal=flags,
        context=StoredLatent(
            jnp.tanh(normal(shape[0], model.dims.deter)).astype(agent.compute_dtype(config)),
            jnp.asarray(classes, jnp.uint8),
        ),
    )
