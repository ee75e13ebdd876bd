"""Small systems of equations without a library, for GPUs.

Factors of matrices and solutions by them are a library's calls on a GPU. XLA leaves a loop with
such a call to the host, which then waits for the card to know whether another round is due. The
matrices here have a row for each degree of freedom of a model.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import linalg
from jaxtyping import Array, Float


def eliminate(
    matrix: Float[Array, "rows rows"], vector: Float[Array, " rows"]
) -> Float[Array, " rows"]:
    """Solve a system of equations by the elimination of Gauss and Jordan.

    A GPU takes a kernel or less for each row. Rows are not exchanged: this is for symmetric
    positive definite matrices, where the error is as small without. Of others the solution is
    not a number, as it is by Cholesky factors.

    Args:
        matrix: The coefficients, symmetric and positive definite.
        vector: The right-hand side.
    """
    system = jnp.column_stack([matrix, vector])
    rows = jnp.arange(matrix.shape[0])[:, None]
    for k in range(matrix.shape[0]):
        pivot = system[k] / jnp.where(system[k, k] > 0, system[k, k], jnp.nan)
        others = system - jnp.outer(system[:, k], pivot)
        system = jnp.where(rows == k, pivot[None], others)
    return system[:, -1]


class _Thread(threading.local):
    eliminates = False


_thread = _Thread()


@contextlib.contextmanager
def eliminating() -> Iterator[None]:
    """Let `ELIMINATING_JAX` solve by elimination in this thread."""
    before, _thread.eliminates = _thread.eliminates, True
    try:
        yield
    finally:
        _thread.eliminates = before


def _factor(matrix: Array, *args: Any, **options: Any) -> tuple[Array, bool]:
    if _thread.eliminates:
        return matrix, False
    return linalg.cho_factor(matrix, *args, **options)


def _solve(factor: tuple[Array, bool], vector: Array, *args: Any, **options: Any) -> Array:
    if _thread.eliminates:
        return eliminate(factor[0], vector)
    return linalg.cho_solve(factor, vector, *args, **options)


class _Overlay:
    """A module, some names of which stand for something else."""

    def __init__(self, module: Any, **names: Any):
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


ELIMINATING_JAX = _Overlay(
    jax,
    scipy=_Overlay(jax.scipy, linalg=_Overlay(linalg, cho_factor=_factor, cho_solve=_solve)),
)
"""Takes the place of the name `jax` in modules of MJX. Within `eliminating` a Cholesky factor is
the matrix itself, and its solution an elimination; in another thread all is JAX's."""
