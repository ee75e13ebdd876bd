"""Functions of single states, some at a time."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.models.chunks import NUM_STATES, keep, map_states

KERNEL = jr.normal(jr.key(0), (3, 3, 2, 8)) / 5


def loss(kernel, image, target):
    """A convolution, of which derivatives want the result."""
    y = jax.lax.conv_general_dilated(
        image[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return {"error": jnp.sum((jnp.sin(y[0]).mean(axis=(0, 1)) - target) ** 2)}


def total(kernel, images, targets, in_chunks):
    losses = map_states(
        lambda image, target: loss(kernel, image, target), images, targets, in_chunks=in_chunks
    )
    assert losses["error"].shape == images.shape[:2]
    return jnp.sum(losses["error"] * jnp.arange(losses["error"].size).reshape(images.shape[:2]))


# Less than a chunk, several, and several with a rest.
@pytest.mark.parametrize("shape", [(2, 3), (4, NUM_STATES // 2), (5, NUM_STATES // 2 + 1)])
def test_chunks_change_neither_values_nor_derivatives(shape, x64):
    kernel = KERNEL.astype(float)
    images, targets = jr.normal(jr.key(1), (*shape, 6, 6, 2)), jr.normal(jr.key(2), (*shape, 8))
    gradient = jax.value_and_grad(total, (0, 1, 2))
    for a, b in zip(
        jax.tree.leaves(gradient(kernel, images, targets, True)),
        jax.tree.leaves(gradient(kernel, images, targets, False)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_chunks_take_less_memory():
    images, targets = jnp.zeros((16, NUM_STATES, 16, 16, 2)), jnp.zeros((16, NUM_STATES, 8))
    temporaries = [
        jax.jit(jax.grad(total), static_argnums=3)
        .lower(KERNEL, images, targets, in_chunks)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for in_chunks in (True, False)
    ]
    assert temporaries[0] < temporaries[1] / 5


@pytest.mark.parametrize("mark", [keep, lambda x: x], ids=["kept", "not kept"])
def test_what_is_kept_is_not_computed_again(mark):
    def total(x):
        return jnp.sum(map_states(lambda x: jnp.cos(mark(jnp.sin(x))), x, in_chunks=True))

    text = str(jax.make_jaxpr(jax.grad(total))(jnp.ones((2, NUM_STATES))))
    # For the value, for the derivative of the cosine, and, unless it is kept, for what that is at.
    assert text.count(" = sin ") == (2 if mark is keep else 3), text
