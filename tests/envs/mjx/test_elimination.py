"""Systems of equations solved by elimination, and that MJX uses it where it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco.mjx._src import forward, smooth, solver

from gpld.envs.mjx.elimination import eliminate
from gpld.envs.mjx.simulation import faithful
from gpld.xla.choices import made_for


@pytest.mark.parametrize("size", [1, 2, 9, 30])
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_errors_are_those_of_a_stable_computation(size, condition):
    """Errors may be the condition number times some units of the last place."""
    rng = np.random.default_rng(size)
    for _ in range(20):
        rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
        scales = np.logspace(0, np.log10(condition), size) if size > 1 else np.array([condition])
        matrix, solution = (rotation * scales) @ rotation.T, rng.normal(size=size)
        with jax.enable_x64(True):
            found = np.asarray(eliminate(jnp.array(matrix), jnp.array(matrix @ solution)))
        bound = 10 * size * condition * np.finfo(float).eps
        assert np.linalg.norm(found - solution) <= bound * np.linalg.norm(solution)


def test_batches_of_systems():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(7, 5, 5)).astype(np.float32)
    matrices = factors @ factors.transpose(0, 2, 1) + 5 * np.eye(5, dtype=np.float32)
    vectors = rng.normal(size=(7, 5)).astype(np.float32)
    found = jax.vmap(eliminate)(matrices, vectors)
    np.testing.assert_allclose(found, np.linalg.solve(matrices, vectors[..., None])[..., 0], 1e-4)


def test_programs_for_a_gpu_call_no_library_for_systems():
    def program(module):
        def solved(matrix, vector):
            linalg = module.jax.scipy.linalg
            return linalg.cho_solve(linalg.cho_factor(matrix), vector)

        with faithful():
            return str(jax.make_jaxpr(solved)(jnp.eye(3), jnp.ones(3)))

    for module in (forward, smooth, solver):
        with made_for("gpu"):
            assert "cholesky" not in program(module)
        assert "cholesky" in program(module)
        assert module.jax is jax
