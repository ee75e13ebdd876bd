"""Mixed precision: which products are rounded, wherever they are."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.models.convolutions import convolve
from gpld.xla import precision

mixed = functools.partial(precision.mixed, on_cpu=jax.default_backend() == "cpu")
X, Y = jr.normal(jr.key(0), (5, 7)), jr.normal(jr.key(1), (7, 7))


def rounded(x):
    """The value that a factor of a product has."""
    return np.asarray(x, jnp.bfloat16).astype(np.float64)


def product(x, y):
    return rounded(x) @ rounded(y)


@jax.custom_jvp
def own_jvp(x, y):
    return x @ y


own_jvp.defjvp(lambda primals, tangents: (own_jvp(*primals), tangents[0] @ primals[1]))


@jax.custom_vjp
def own_vjp(x, y):
    return x @ y


own_vjp.defvjp(lambda x, y: (x @ y, y), lambda y, g: (g @ y.T, jnp.zeros_like(y)))


def scanned(x, y):
    return jax.lax.scan(lambda carry, row: (carry, row @ carry), y, x)[1]


def looped(x, y):
    body = lambda state: (state[0] + 1, state[1] @ y)  # noqa: E731
    return jax.lax.while_loop(lambda state: state[0] < 1, body, (0, x))[1]


def chosen(x, y):
    return jax.lax.cond(x[0, 0] < 1e9, lambda: x @ y, lambda: jnp.zeros_like(x))


WRAPPERS = {
    "plain": lambda x, y: x @ y,
    "jit": jax.jit(lambda x, y: x @ y),
    "vmap": jax.vmap(lambda x, y: x @ y, (0, None)),
    "scan": scanned,
    "while": looped,
    "cond": chosen,
    "checkpoint": jax.checkpoint(lambda x, y: x @ y),
    "custom_jvp": own_jvp,
    "custom_vjp": own_vjp,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_factors_are_rounded_and_sums_are_not(name):
    expected = product(X, Y)
    actual = jax.jit(mixed(WRAPPERS[name]))(X, Y)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(WRAPPERS[name](X, Y) - expected)) > 1e-4  # which float32 would not give


@pytest.mark.parametrize(
    "name", sorted(set(WRAPPERS) - {"while"})
)  # which has no reverse derivative
def test_products_of_derivatives_are_rounded(name):
    weights = jr.normal(jr.key(2), X.shape)
    gradient = jax.grad(lambda x, y: jnp.sum(weights * WRAPPERS[name](x, y)))
    np.testing.assert_allclose(mixed(gradient)(X, Y), product(weights, Y.T), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("tiles", [True, False])
def test_convolutions_and_their_derivatives_are_rounded_where_there_are_tiles(inputs, tiles):
    keys = jr.split(jr.key(0), 3)
    x = jr.normal(keys[0], (3, 2, 6, 8, inputs))
    kernel = jr.normal(keys[1], (5, 5, inputs, 4))
    weights = _rounded(jr.normal(keys[2], (3, 2, 6, 8, 4)))
    fn = jax.vmap(jax.vmap(convolve, (0, None)), (0, None))
    gradient = jax.grad(lambda *args: jnp.sum(weights * fn(*args)), argnums=(0, 1))
    outputs = lambda *args: (fn(*args), *gradient(*args))  # noqa: E731
    actual = jax.jit(mixed(outputs, tiles=tiles))(x, kernel)
    expected = outputs(_rounded(x), _rounded(kernel))
    for a, b, whole in zip(actual, expected, outputs(x, kernel), strict=True):
        np.testing.assert_allclose(a, b if tiles else whole, rtol=1e-4, atol=1e-4)
        assert np.max(np.abs(b - whole)) > 1e-3


def test_convolutions_of_other_kinds_are_right_as_well():
    x, kernel = jr.normal(jr.key(0), (2, 8, 8, 4)), jr.normal(jr.key(1), (3, 3, 2, 4))
    strided = lambda x, kernel: jax.lax.conv_general_dilated(  # noqa: E731
        x,
        kernel,
        (2, 2),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    actual = mixed(strided, tiles=True)(x, kernel)
    np.testing.assert_allclose(actual, strided(x, kernel), rtol=0.05, atol=0.2)


def _rounded(x):
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def test_products_of_highest_precision_stay_and_so_do_their_derivatives():
    exact = lambda x, y: jnp.matmul(x, y, precision="highest")  # noqa: E731
    np.testing.assert_array_equal(mixed(exact)(X, Y), exact(X, Y))
    gradient = jax.grad(lambda x, y: jnp.sum(jnp.sin(exact(x, y))), argnums=(0, 1))
    for actual, expected in zip(mixed(gradient)(X, Y), gradient(X, Y), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["int32", "bfloat16", "float64"])
def test_other_types_stay(dtype, x64):
    x, y = ((10 * np.asarray(array)).astype(dtype)[:, :5] for array in (X, Y))
    np.testing.assert_array_equal(mixed(jnp.matmul)(x, y[:5]), jnp.matmul(x, y[:5]))


@pytest.mark.parametrize(
    ("equation", "x_shape", "y_shape"),
    [
        ("gbi,gio->gbo", (3, 4, 5), (3, 5, 6)),
        ("bgi,gio->bgo", (4, 3, 5), (3, 5, 6)),
        ("bgi,gio->gob", (4, 3, 5), (3, 5, 6)),
        ("ghbi,hgoi->ghbo", (2, 3, 4, 5), (3, 2, 6, 5)),
        ("ghij,hgij->gh", (2, 3, 4, 5), (3, 2, 4, 5)),
        ("ki,kj->ij", (9, 4), (9, 5)),
        ("btk,btj->kj", (3, 4, 5), (3, 4, 6)),
        ("tbk,btj->jk", (4, 3, 5), (3, 4, 6)),
        ("i,ij->j", (5,), (5, 6)),
        ("aij,j->ai", (3, 4, 5), (5,)),
        ("i,i->", (5,), (5,)),
    ],
)
def test_products_of_any_form(equation, x_shape, y_shape):
    x, y = jr.normal(jr.key(3), x_shape), jr.normal(jr.key(4), y_shape)
    actual = mixed(lambda x, y: jnp.einsum(equation, x, y))(x, y)
    expected = np.einsum(equation, rounded(x), rounded(y))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_large_batches_of_products_stay_float32_on_a_cpu():
    x, y = jr.normal(jr.key(5), (40, 3, 3)), jr.normal(jr.key(6), (40, 3, 3))
    np.testing.assert_array_equal(mixed(jnp.matmul)(x, y), jnp.matmul(x, y))


def test_arguments_and_results_that_are_no_arrays():
    def fn(settings, x, *, y):
        return {"product": x @ y, "name": settings["name"]}, None

    result, nothing = mixed(fn)({"name": "a"}, X, y=Y)
    assert (result["name"], nothing) == ("a", None)
    np.testing.assert_allclose(result["product"], product(X, Y), rtol=1e-5, atol=1e-6)
