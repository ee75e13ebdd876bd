"""Sums in other forms: the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpld.xla.cpu_sums import vectorised_sums

FORMS = {
    "a mean along the last axis": lambda x: jnp.mean(x, axis=-1),
    "a sum over all rows": lambda x: jnp.sum(x, axis=tuple(range(x.ndim - 1))),
    "a sum over the first axis": lambda x: jnp.sum(x, axis=0),
    "a sum of everything": jnp.sum,
    "a cumulative sum": lambda x: jnp.cumsum(x, axis=-1),
    "a cumulative sum from the end": lambda x: jax.lax.cumsum(x, axis=x.ndim - 1, reverse=True),
    "a cumulative sum along the first axis": lambda x: jnp.cumsum(x, axis=0),
}


@pytest.mark.parametrize("shape", [(31, 37, 65), (1031, 16), (2, 255), (1, 1024, 96), (5, 1)])
@pytest.mark.parametrize("name", FORMS)
def test_results_are_those_of_double_precision(name, shape, x64):
    x = np.random.default_rng(0).normal(1, 1, shape)
    fn = FORMS[name]
    actual = jax.jit(vectorised_sums(fn))(jnp.asarray(x, jnp.float32))
    expected = fn(jnp.asarray(x, jnp.float64))
    assert (actual.dtype, actual.shape) == (jnp.float32, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=3e-6, atol=3e-6 * np.abs(x).sum(0).max())


@pytest.mark.parametrize(
    ("name", "shape", "primitive"),
    [
        ("a mean along the last axis", (3, 256), "optimization_barrier"),
        ("a sum over all rows", (64, 64, 8), "optimization_barrier"),
        ("a cumulative sum", (3, 16), "dot_general"),
    ],
)
def test_other_forms_are_taken(name, shape, primitive):
    x = jnp.zeros(shape)
    assert primitive not in str(jax.make_jaxpr(FORMS[name])(x))
    assert primitive in str(jax.make_jaxpr(vectorised_sums(FORMS[name]))(x))


def test_integers_stay():
    x = jnp.arange(4096).reshape(-1, 4)
    fn = lambda x: (jnp.sum(x, axis=0), jnp.cumsum(x, axis=-1))  # noqa: E731
    program = str(jax.make_jaxpr(vectorised_sums(fn))(x))
    assert "cumsum" in program
    assert "optimization_barrier" not in program
