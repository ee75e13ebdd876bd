"""A tiny agent and batch, shared by the tests of models and losses."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from gpld.config import (
    ActorCriticConfig,
    Config,
    GPLDConfig,
    LossConfig,
    ModelConfig,
    ReplayConfig,
)
from gpld.losses import Batch
from gpld.models import RSSM, Dreamer, Forms, StoredLatent

CONFIG = Config(
    precision="float32",
    model=ModelConfig(
        deter=16,
        hidden=8,
        classes=4,
        units=8,
        stoch=3,
        blocks=4,
        prior_layers=1,
        encoder_layers=1,
        decoder_layers=1,
        policy_layers=1,
        value_layers=1,
    ),
    replay=ReplayConfig(batch_size=2, batch_length=4),
    ac=ActorCriticConfig(imag_length=3),
    # No two scales are equal, and the KLs have gradients wherever they are.
    loss=LossConfig(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2, 0.3, free_nats=0.0),
    gpld=GPLDConfig(lambda0=0.5, lambda0_prior=0.25, target="both"),
)
SHAPES = {"velocity": (2,), "height": ()}
ACTION_SIZE = 2

# The same with three actions, one of which is taken, and observations that are classes.
NUM_ACTIONS = 3
NUM_CLASSES = {"kind": 4, "grid": 2}
DISCRETE_SHAPES = {**SHAPES, "kind": (), "grid": (2, 2)}


def build(make, *args, seed=0, **kwargs):
    """A module with random numbers in every array: no bias is zero, no scale is one.

    Only shapes are taken from `make`: compiling an initialiser takes longer than most tests.
    """
    rng = np.random.default_rng(seed)

    def fill(x):
        if not isinstance(x, jax.ShapeDtypeStruct):
            return x
        noise = rng.normal(size=x.shape)
        if len(x.shape) > 1:
            return jnp.asarray(noise / np.sqrt(np.prod(x.shape[:-1])), x.dtype)
        return jnp.asarray(0.5 + 0.3 * noise, x.dtype)

    make = functools.partial(make, *args, **kwargs)
    shapes = eqx.filter_eval_shape(lambda key: make(key=key), jr.key(0))
    return jax.tree.map(fill, shapes)


def tiny_model() -> Dreamer:
    """A model of the sizes of `CONFIG`, in the forms that CPUs take."""
    dtype, forms = jnp.dtype("float32"), Forms("separate", row_by_row=True)
    return build(Dreamer, CONFIG.model, SHAPES, ACTION_SIZE, dtype=dtype, forms=forms)


def discrete_model() -> Dreamer:
    """`tiny_model` with discrete actions and some categorical observations."""
    dtype, forms = jnp.dtype("float32"), Forms("separate", row_by_row=True)
    kinds = {"discrete": True, "num_classes": NUM_CLASSES}
    sizes = (CONFIG.model, DISCRETE_SHAPES, NUM_ACTIONS)
    return build(Dreamer, *sizes, **kinds, dtype=dtype, forms=forms)


def tiny_rssm(dtype: str = "float32", classes: int = 4) -> RSSM:
    """16 deter, 8 hidden, 3 rows, embeddings of 5, 2 actions; two and one hidden layers."""
    config = ModelConfig(deter=16, hidden=8, stoch=3, classes=classes, blocks=4)
    return build(RSSM, 5, 2, config, dtype=jnp.dtype(dtype), forms=Forms("separate"))


def tiny_batch(**changes) -> Batch:
    """Random sequences without beginnings and ends of episodes, but for `changes`."""
    rng = np.random.default_rng(0)
    shape = (CONFIG.replay.batch_size, CONFIG.replay.batch_length)
    stoch, classes = CONFIG.model.stoch, CONFIG.model.classes

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    batch = Batch(
        observation={name: 3 * normal(*shape, *size) for name, size in SHAPES.items()},
        prev_action=normal(*shape, ACTION_SIZE),
        reward=normal(*shape),
        is_first=jnp.zeros(shape, bool),
        is_last=jnp.zeros(shape, bool),
        is_terminal=jnp.zeros(shape, bool),
        context=StoredLatent(
            normal(shape[0], CONFIG.model.deter),
            jnp.asarray(rng.integers(classes, size=(shape[0], stoch)), jnp.uint8),
        ),
    )
    return batch._replace(**changes)


def discrete_batch(**changes) -> Batch:
    """`tiny_batch` with numbers of actions, and with classes."""
    rng, batch = np.random.default_rng(1), tiny_batch()
    shape = batch.reward.shape

    def integers(high, *size):
        return jnp.asarray(rng.integers(high, size=(*shape, *size)), jnp.int32)

    classes = {name: integers(n, *DISCRETE_SHAPES[name]) for name, n in NUM_CLASSES.items()}
    batch = batch._replace(
        observation={**batch.observation, **classes}, prev_action=integers(NUM_ACTIONS)
    )
    return batch._replace(**changes)


def quick_jit(fn):
    """`jax.jit` without optimisation, for large programs that run once."""
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 0})
