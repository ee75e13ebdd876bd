"""Convolutions with their channels last."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.extend.core.primitives import conv_general_dilated_p

from gpld.xla.convolutions import channels_last

KERNEL = jr.normal(jr.key(0), (3, 5, 2, 4))
IMAGES = jr.normal(jr.key(1), (6, 7, 8, 2))


@pytest.mark.parametrize(
    "orders", [("NHWC", "HWIO", "NHWC"), ("CHWN", "IHWO", "HWNC"), ("NCHW", "OIHW", "NCHW")]
)
def test_results_are_the_same_from_every_order(orders):
    def arranged(x, order, usual):
        return jnp.transpose(x, [usual.index(axis) for axis in order])

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            arranged(x, orders[0], "NHWC"),
            arranged(kernel, orders[1], "HWIO"),
            (1, 1),
            ((0, 1), (2, 2)),
            dimension_numbers=orders,
        )

    expected = convolve(IMAGES, KERNEL)
    np.testing.assert_allclose(channels_last(convolve)(IMAGES, KERNEL), expected, atol=1e-5)


def test_derivatives_in_loops_have_their_channels_last():
    def loss(kernel, images):
        def one(total, x):
            y = jax.lax.conv_general_dilated(
                x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return total + jnp.sum(jnp.sin(y)), None

        return jax.lax.scan(one, 0.0, images)[0]

    gradient = jax.grad(loss, (0, 1))
    for a, b in zip(channels_last(gradient)(KERNEL, IMAGES), gradient(KERNEL, IMAGES), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    last = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    before, after = (
        [tuple(e.params["dimension_numbers"]) == last for e in convolutions(fn)]
        for fn in (gradient, channels_last(gradient))
    )
    assert not all(before)
    assert len(after) == len(before) == 3
    assert all(after)


def convolutions(fn):
    """Equations of the convolutions in a program, those in loops included."""

    def found(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive is conv_general_dilated_p:
                yield equation
            for inner in jaxprs_in_params(equation.params):
                yield from found(inner)

    return list(found(jax.make_jaxpr(fn)(KERNEL, IMAGES).jaxpr))
