"""Systems of equations solved by elimination, and that MJX does so in programs for GPUs alone."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco.mjx._src import smooth, solver

from gpld.envs.mjx.elimination import ELIMINATING_JAX, eliminate, eliminating
from gpld.envs.mjx.model import load_model
from gpld.envs.mjx.simulation import Simulation
from gpld.xla.choices import made_for

LIBRARY = ("cholesky", "triangular_solve")


def system(size, condition, rng):
    """A symmetric positive definite matrix, badly scaled too, and a solution."""
    rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = (rotation * np.geomspace(1, condition, size)) @ rotation.T
    scales = np.exp(rng.normal(size=size))
    return matrix * scales * scales[:, None], rng.normal(size=size)


def error(found, solution):
    return np.linalg.norm(np.asarray(found) - solution) / np.linalg.norm(solution)


@pytest.mark.parametrize("size", [1, 2, 9, 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_errors_are_those_of_cholesky_factors(size, dtype):
    """Of 40 systems each: stable, and in the median no more than twice as large."""
    rng, errors = np.random.default_rng(size), []
    with jax.enable_x64(dtype == "float64"):
        for condition in np.geomspace(1, 1e5 if dtype == "float32" else 1e10, 40):
            matrix, solution = system(size, condition, rng)
            matrix = matrix.astype(dtype)
            vector = (matrix @ solution).astype(dtype)
            solution = np.linalg.solve(matrix.astype(float), vector.astype(float))
            factor = jax.scipy.linalg.cho_factor(jnp.array(matrix))
            theirs = jax.scipy.linalg.cho_solve(factor, jnp.array(vector))
            ours = eliminate(jnp.array(matrix), jnp.array(vector))
            amplified = np.finfo(dtype).eps * np.linalg.cond(matrix.astype(float))
            errors.append((error(ours, solution), error(theirs, solution), amplified))
    ours, theirs, amplified = np.transpose(errors)
    assert (ours <= 10 * size * amplified).all()
    assert np.median(ours) <= 2 * np.median(theirs)


def test_batches_of_systems():
    rng = np.random.default_rng(0)
    matrices, solutions = zip(*(system(5, 10, rng) for _ in range(7)), strict=True)
    vectors = np.einsum("bij,bj->bi", matrices, solutions)
    found = jax.vmap(eliminate)(jnp.float32(matrices), jnp.float32(vectors))
    np.testing.assert_allclose(found, solutions, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("eigenvalues", [(1.0, -1.0, 2.0), (-1.0, -1.0, -1.0), (0.0, 0.0, 0.0)])
def test_solutions_are_no_numbers_where_a_matrix_is_not_positive_definite(eigenvalues):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    matrix = jnp.float32((rotation * eigenvalues) @ rotation.T)
    assert jnp.isnan(eliminate(matrix, jnp.ones(3))).any()
    assert jnp.isnan(jax.scipy.linalg.cho_factor(matrix)[0]).any()


@pytest.mark.parametrize("task", ["pendulum_swingup", "cartpole_swingup"])
def test_programs_for_a_gpu_call_no_library_for_systems(task):
    """Euler's and Runge-Kutta's steps, with constraints and without; after the other's trace."""
    for platform, calls in (("cpu", True), ("gpu", False), ("cpu", True)):
        with made_for(platform):
            simulation = Simulation(load_model(task, 1))
        state = simulation.state(jnp.zeros(simulation.task.model.nq))
        program = str(jax.make_jaxpr(simulation.step)(state, jnp.zeros(1)))
        assert any(name in program for name in LIBRARY) == calls
        assert all(module.jax is jax for module in (smooth, solver))


def test_another_thread_has_the_factors_of_the_library():
    """It may trace MJX by itself, with a factor that it has made before."""
    matrix, vector = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
    linalg, solutions = ELIMINATING_JAX.scipy.linalg, []

    def solve():
        solutions.append(linalg.cho_solve(linalg.cho_factor(matrix), vector))
        solutions.append(linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), vector))

    with eliminating():
        np.testing.assert_array_equal(linalg.cho_factor(matrix)[0], matrix)
        solutions.append(linalg.cho_solve((matrix, False), vector))
        thread = threading.Thread(target=solve)
        thread.start()
        thread.join()
    assert len(solutions) == 3
    for solution in solutions:
        np.testing.assert_allclose(solution, [1 / 11, 7 / 11], rtol=1e-6)
