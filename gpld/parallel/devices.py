"""Where agents and batches are: on one device, or divided among several."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ..config import Config
from ..errors import UsageError

_AXIS = "devices"


@runtime_checkable
class Placement(Protocol):
    """Says of agents, batches and time steps on which devices they are."""

    def agents(self, tree: PyTree) -> PyTree:
        """Puts agents where they belong, or keeps them there inside of a program."""
        ...

    def batch(self, tree: PyTree) -> PyTree:
        """Puts a batch of host arrays on the devices that train on it."""
        ...

    def latents(self, tree: PyTree) -> PyTree:
        """Inside of a program: leaves what belongs to the batch where the batch is."""
        ...

    def actor(self, model: PyTree) -> PyTree:
        """The networks where they act."""
        ...

    def seen(self, tree: PyTree) -> PyTree:
        """Puts what is acted on or remembered where the actor is, or keeps it there."""
        ...


class OneDevice:
    """The default device, about which nothing needs to be said."""

    def agents(self, tree: PyTree) -> PyTree:
        """They are there already."""
        return tree

    def batch(self, tree: PyTree) -> PyTree:
        """Starts the transfer."""
        return jax.tree.map(jnp.asarray, tree)

    def latents(self, tree: PyTree) -> PyTree:
        """They are there already."""
        return tree

    def actor(self, model: PyTree) -> PyTree:
        """They are there already."""
        return model

    def seen(self, tree: PyTree) -> PyTree:
        """Left to the program that takes it."""
        return tree


class DataParallel(OneDevice):
    """One agent, of which every device has a copy and trains on its part of each batch.

    Nothing else is said: XLA divides the program of one device, so that the losses are the
    same but for the order of sums. Acting stays on the first device.
    """

    def __init__(self, devices: Sequence[Any]):
        """Divides batches among `devices`."""
        mesh = Mesh(np.asarray(devices), (_AXIS,))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._divided = NamedSharding(mesh, PartitionSpec(_AXIS))

    def agents(self, tree: PyTree) -> PyTree:
        """A copy for each device."""
        return _put(tree, self._everywhere)

    def batch(self, tree: PyTree) -> PyTree:
        """A part of the sequences for each device."""
        return _divide(tree, self._divided)

    def latents(self, tree: PyTree) -> PyTree:
        """Each device keeps those of its sequences."""
        return _put(tree, self._divided)

    def actor(self, model: PyTree) -> PyTree:
        """The copy of the first device."""
        return local(model)


class SeedParallel(OneDevice):
    """Several agents, the same number on each device, which work without the others."""

    def __init__(self, devices: Sequence[Any]):
        """Divides agents among `devices`."""
        mesh = Mesh(np.asarray(devices), (_AXIS,))
        self._divided = NamedSharding(mesh, PartitionSpec(_AXIS))

    def agents(self, tree: PyTree) -> PyTree:
        """Some for each device."""
        return _put(tree, self._divided)

    def batch(self, tree: PyTree) -> PyTree:
        """Each batch goes to the device of its agent."""
        return _divide(tree, self._divided)

    def latents(self, tree: PyTree) -> PyTree:
        """Stay where the agents are."""
        return self.agents(tree)

    def seen(self, tree: PyTree) -> PyTree:
        """Goes to the devices of the agents."""
        return self.agents(tree)


def choose_placement(config: Config) -> Placement:
    """The devices that the settings ask for.

    Raises:
        UsageError: If there are fewer.
    """
    if config.devices == config.distributed.processes == 1:
        return OneDevice()
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
    return DataParallel(used) if config.seeds == 1 else SeedParallel(used)


def local(tree: PyTree) -> PyTree:
    """The first device's copy of arrays that several devices have."""
    return jax.tree.map(lambda x: x.addressable_data(0) if _is_spread(x) else x, tree)


def fetch(tree: PyTree) -> PyTree:
    """Host copies of arrays: of those that several machines have divided, this one's part."""

    def get(x):
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return np.asarray(x)
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start)
        return np.concatenate([np.asarray(shard.data) for shard in shards])

    return jax.tree.map(get, tree)


def shard_of(tree: PyTree, index: int) -> tuple[PyTree, int]:
    """The part of arrays, along their first axis, that has an index; and its index in there."""
    spread = [leaf for leaf in jax.tree.leaves(tree) if _is_spread(leaf)]
    if not spread:
        return tree, index
    lengths = [len(shard.data) for shard in spread[0].addressable_shards]
    number, index = divmod(index, lengths[0])
    return jax.tree.map(lambda x: x.addressable_data(number), tree), index


def _put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(tree)):
        return jax.lax.with_sharding_constraint(tree, sharding)
    return jax.device_put(tree, sharding)


def _divide(tree: PyTree, sharding: NamedSharding) -> PyTree:
    put = lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x))  # noqa: E731
    return jax.tree.map(put, tree)


def _is_spread(x: Any) -> bool:
    return isinstance(x, jax.Array) and len(x.sharding.device_set) > 1
