"""Devices of a run: one, or several among which agents and batches are divided."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ..config import Config
from ..errors import UsageError

_AXIS = "devices"


class Placement(NamedTuple):
    """Shardings of what a run holds on its devices; None leaves it on the default device.

    One agent on several devices has a copy on each, which trains on its part of every batch and
    acts on the first (data parallelism: the losses are the same but for the order of sums). Of
    several agents each device has some, with their batches and policy states.
    """

    agents: NamedSharding | None = None
    batches: NamedSharding | None = None
    """Of batches, and of the latent states that updates recompute for them."""

    acting: NamedSharding | None = None
    """Of observations and policy states."""


def choose_placement(config: Config) -> Placement:
    """Choose the devices that the settings ask for.

    Raises:
        UsageError: If there are fewer.
    """
    if config.devices == config.distributed.processes == 1:
        return Placement()
    devices = jax.local_devices()
    if config.devices > len(devices):
        raise UsageError(
            f"`devices` must be at most {len(devices)}, the number of {devices[0].platform} "
            f"devices that JAX has, got {config.devices}; on a CPU it is chosen before JAX "
            f"starts, with XLA_FLAGS=--xla_force_host_platform_device_count={config.devices}."
        )
    used = [
        device
        for process in range(jax.process_count())
        for device in jax.local_devices(process)[: config.devices]
    ]
    mesh = Mesh(np.asarray(used), (_AXIS,))
    divided = NamedSharding(mesh, PartitionSpec(_AXIS))
    if config.seeds == 1:
        return Placement(agents=NamedSharding(mesh, PartitionSpec()), batches=divided)
    return Placement(divided, divided, divided)


def put(tree: PyTree, sharding: NamedSharding | None) -> PyTree:
    """Put arrays on their devices; inside of a program, keep them there."""
    if sharding is None:
        return tree
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(tree)):
        return jax.lax.with_sharding_constraint(tree, sharding)
    return jax.device_put(tree, sharding)


def transfer(tree: PyTree, sharding: NamedSharding | None) -> PyTree:
    """Start to copy host arrays, of which each process has its part, to their devices."""
    if sharding is None:
        return jax.device_put(tree)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def local(tree: PyTree) -> PyTree:
    """Return the first device's copy of arrays that several devices have."""
    return jax.tree.map(lambda x: x.addressable_data(0) if _is_spread(x) else x, tree)


def fetch(tree: PyTree) -> PyTree:
    """Copy arrays to the host: of those that several machines have divided, this one's part."""

    def get(x):
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return np.asarray(x)
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start)
        return np.concatenate([np.asarray(shard.data) for shard in shards])

    return jax.tree.map(get, tree)


def shard_of(tree: PyTree, index: int) -> tuple[PyTree, int]:
    """Return the shards, along the first axis, that hold an index, and its index in them."""
    spread = [leaf for leaf in jax.tree.leaves(tree) if _is_spread(leaf)]
    if not spread:
        return tree, index
    lengths = [len(shard.data) for shard in spread[0].addressable_shards]
    number, index = divmod(index, lengths[0])
    return jax.tree.map(lambda x: x.addressable_data(number), tree), index


def _is_spread(x: Any) -> bool:
    return isinstance(x, jax.Array) and len(x.sharding.device_set) > 1
