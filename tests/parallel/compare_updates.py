"""Compares updates on several devices or hosts with those on one; prints what differs most.

Run in a process of its own, because the devices are settled when JAX starts: with estimator and
precision on eight virtual CPU devices; with coordinator and number also as one of two processes.
"""

import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import gpld  # noqa: F401  # isort: skip  # before JAX starts

import jax
import jax.random as jr
import numpy as np
from helpers import ACTION_SIZE, CONFIG, SHAPES

from gpld import agent
from gpld.config import DistributedConfig, GPLDConfig, OptimizerConfig
from gpld.losses import Batch
from gpld.models import StoredLatent
from gpld.parallel.devices import choose_placement, fetch, local, transfer
from gpld.parallel.hosts import connect
from gpld.parallel.seeds import SeedAxis
from gpld.training.programs import make_programs


def make_batch(config):
    rng = np.random.default_rng(0)
    shape, model = (config.replay.batch_size, config.replay.batch_length), config.model
    flags = lambda: rng.random(shape) < 0.1  # noqa: E731
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return Batch(
        observation={name: normal(*shape, *size) for name, size in SHAPES.items()},
        prev_action=normal(*shape, ACTION_SIZE),
        reward=normal(*shape),
        is_first=flags(),
        is_last=flags(),
        is_terminal=flags(),
        context=StoredLatent(
            normal(shape[0], model.deter),
            rng.integers(model.classes, size=(shape[0], model.stoch), dtype=np.uint8),
        ),
    )


def two_updates(config, state, batch):
    """Agent, latents and metrics after two updates, and on how many devices they were made.

    Batch and latents are the part of this process.
    """
    seeds = SeedAxis(config.seeds, choose_placement(config))
    update, batches = make_programs(config, seeds).update, seeds.placement.batches
    state, key = seeds.put(state), jr.key(1)
    metrics = []
    for _ in range(2):
        state, [latents], [values] = update(state, transfer(batch, batches), key)
        metrics.append(values)
    devices = {len(x.sharding.device_set) for x in jax.tree.leaves((state, latents))}
    return (jax.device_get(local(state)), fetch(latents), jax.device_get(metrics)), devices


def largest_difference(actual, expected):
    """Largest difference, relative to the largest entry of each array."""

    def difference(x, y):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return np.max(np.abs(x - y), initial=0) / max(np.max(np.abs(y), initial=0), 1e-3)

    return max(jax.tree.leaves(jax.tree.map(difference, actual, expected)))


def main(estimator, precision, num_devices, distributed):
    config = dataclasses.replace(
        CONFIG,
        precision=precision,
        replay=dataclasses.replace(CONFIG.replay, batch_size=8),
        gpld=GPLDConfig(
            estimator=estimator, target="both" if estimator == "joint" else "posterior"
        ),
        # Smooth where gradients are tiny, of which the published eps would keep only the sign.
        optimizer=OptimizerConfig(warmup=0, learning_rate=1e-2, eps=1e-2),
    )
    init = jax.jit(lambda key: agent.init(config, SHAPES, ACTION_SIZE, key=key))
    state, batch = init(jr.key(0)), make_batch(config)
    one, devices = two_updates(config, state, batch)
    assert devices == {1}
    mine = slice(None)
    if distributed.processes == 2:
        mine = slice(4 * jax.process_index(), 4 * jax.process_index() + 4)
    divided = dataclasses.replace(config, run="", devices=num_devices, distributed=distributed)
    several, devices = two_updates(divided, state, jax.tree.map(lambda x: x[mine], batch))
    assert devices == {num_devices * distributed.processes}
    one = (one[0], jax.tree.map(lambda x: x[mine], one[1]), one[2])
    moved = largest_difference(one[0].model, jax.device_get(state.model))
    names = ("agent", "latents", "metrics")
    differences = {
        name: largest_difference(x, y) for name, x, y in zip(names, several, one, strict=True)
    }
    print(json.dumps(differences | {"moved": moved}))


if __name__ == "__main__":
    estimator, precision, *process = sys.argv[1:]
    num_devices, distributed = 8, DistributedConfig()
    if process:
        coordinator, number = process
        num_devices, distributed = 1, DistributedConfig(2, int(number), coordinator)
    jax.config.update("jax_num_cpu_devices", num_devices)
    connect(distributed)
    main(estimator, precision, num_devices, distributed)
