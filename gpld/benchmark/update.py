"""Cost of a whole update, with and without the penalty, in several precisions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import agent
from ..config import Config, Precision
from ..envs import IMAGE
from ..losses import Batch
from ..models import StoredLatent
from .choices import describe
from .measure import Case, measure
from .report import Report

BASELINE = "vanilla"

# Vectors and actions of walker_walk.
_VECTORS = {"height": (), "orientations": (14,), "velocity": (9,)}
ACTION_SIZE = 6


def benchmark_update(
    config: Config,
    *,
    precisions: Sequence[Precision] = (),
    repetitions: int,
    thorough: bool,
) -> Report:
    """Times whole updates: DreamerV3's, and GPLD's by estimator.

    Args:
        config: Settings.
        precisions: Those to compare; by default that of the settings.
        repetitions: How often everything is timed.
        thorough: Whether to time the literal path of `rowwise` as well.

    Returns:
        The report. An update with penalty refers to the one without in the same precision,
        and that to the one without in the first precision.
    """
    precisions = precisions or (config.precision,)
    first = f"{BASELINE}, {precisions[0]}"
    variants, chosen = {}, {}
    for precision in precisions:
        variant: Config = dataclasses.replace(config, precision=precision)
        chosen[precision] = agent.choices(variant).precision
        for name, changes in _variants(thorough).items():
            gpld = dataclasses.replace(config.gpld, **changes)
            reference = first if name == BASELINE else f"{BASELINE}, {precision}"
            variants[f"{name}, {precision}"] = dataclasses.replace(variant, gpld=gpld), reference
    settings = describe(config) | {"precision": chosen, "repetitions": repetitions}
    measurements = measure(update_cases(variants), repetitions=repetitions)
    return Report("update", settings, measurements)


def update_cases(variants: dict[str, tuple[Config, str]]) -> dict[str, Case]:
    """Updates to be timed.

    Args:
        variants: Settings and the name of the baseline, by name.
    """
    inputs: dict[str, tuple[agent.AgentState, Batch]] = {}

    def case(config: Config, baseline: str) -> Case:
        dtype = agent.choices(config).dtype
        if dtype not in inputs:  # variants share the agent, and so the memory for it
            shapes = observation_shapes(config)
            init = jax.jit(lambda key: agent.init(config, shapes, ACTION_SIZE, key=key))
            inputs[dtype] = init(jr.key(0)), random_batch(config)
        update = lambda state, batch, key: agent.update(state, batch, config=config, key=key)  # noqa: E731
        return Case(update, (*inputs[dtype], jr.key(1)), baseline)

    return {name: case(*variant) for name, variant in variants.items()}


def observation_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Shapes of what is observed of walker_walk, by name."""
    side = config.image_size
    images = {IMAGE: (side, side, 3)}
    return {
        "vectors": _VECTORS,
        "pixels": images,
        "both": _VECTORS | images,
    }[config.env.observations]


def random_batch(config: Config) -> Batch:
    """A batch of noise in the shapes of walker_walk."""
    rng = np.random.default_rng(0)
    shape = (config.replay.batch_size, config.replay.batch_length)
    model = config.model

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def observed(name, size):
        if name == IMAGE:
            return jnp.asarray(rng.integers(256, size=(*shape, *size)), jnp.uint8)
        return normal(*shape, *size)

    flags = jnp.zeros(shape, bool)
    classes = rng.integers(model.dims.classes, size=(shape[0], model.stoch))
    return Batch(
        observation={
            name: observed(name, size) for name, size in observation_shapes(config).items()
        },
        prev_action=normal(*shape, ACTION_SIZE),
        reward=normal(*shape),
        is_first=flags,
        is_last=flags,
        is_terminal=flags,
        context=StoredLatent(
            jnp.tanh(normal(shape[0], model.dims.deter)).astype(agent.choices(config).dtype),
            jnp.asarray(classes, jnp.uint8),
        ),
    )


def _variants(thorough: bool) -> dict[str, dict[str, Any]]:
    """Settings of the penalty by name, that of none first."""
    variants: dict[str, dict[str, Any]] = {
        BASELINE: {"lambda0": 0.0, "lambda0_prior": 0.0},
        "rowwise": {"estimator": "rowwise"},
        "joint": {"estimator": "joint"},
        "forward": {"estimator": "forward"},
    }
    if thorough:
        variants["rowwise, literal"] = {"estimator": "rowwise", "path": "literal"}
    return variants
