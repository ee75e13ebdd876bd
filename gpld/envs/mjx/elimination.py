"""Small systems of equations without a library, for GPUs.

Factors of matrices and solutions by them are a library's calls on a GPU. XLA leaves a loop with
such a call to the host, which then waits for the card to know whether another round is due. The
matrices here have a row for each degree of freedom of a model.
"""

import types
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def eliminate(
    matrix: Float[Array, "rows rows"], vector: Float[Array, " rows"]
) -> Float[Array, " rows"]:
    """Solve a system of equations by the elimination of Gauss and Jordan.

    A round of it is one kernel on a GPU. None exchanges rows: this is for symmetric positive
    definite matrices, for which that is stable.

    Args:
        matrix: The coefficients, symmetric and positive definite.
        vector: The right-hand side.
    """
    system = jnp.column_stack([matrix, vector])
    for k in range(matrix.shape[0]):
        pivot = system[k] / system[k, k]
        system = (system - jnp.outer(system[:, k], pivot)).at[k].set(pivot)
    return system[:, -1]


class _EliminatingJax(types.ModuleType):
    """JAX, where a factor is the matrix itself and its solution an elimination."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jax, name)

    class scipy:
        class linalg:
            @staticmethod
            def cho_factor(matrix: Array) -> tuple[Array, bool]:
                return matrix, False

            @staticmethod
            def cho_solve(factor: tuple[Array, bool], vector: Array) -> Array:
                return eliminate(factor[0], vector)


ELIMINATING_JAX = _EliminatingJax("jax")
"""Takes the place of the name `jax` in modules of MJX that solve systems."""
