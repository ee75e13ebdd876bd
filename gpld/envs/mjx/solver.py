"""Solver of constraints: a line search that ends, and a last step that MJX refuses in float32.

MJX takes all 50 steps of each line search, of which those after its end change nothing, so that
it can be differentiated backwards. Here the search ends when that of every environment has.

MJX's solver stops when a step no longer lowers the cost. A cost is known to some units of its last
place, and so a minimum of it to the square root of them: after an impact of the finger, where the
cost is 5e4, float32 leaves accelerations off by 3e-1 of 1e4. The gradient of the cost is known to
some units of its own last place. One more step of Newton's method, judged by the gradient, takes
the error to 3e-3, which is what rounding makes of accelerations without constraints too.
"""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx._src import solver

_stop_by_cost = solver.solve


def search(
    goes_on: Callable[[Any], Array], step: Callable[[Any], Any], start: Any, max_steps: int
) -> Any:
    """Take steps while a condition holds, with the same numbers as the function of MJX.

    Args:
        goes_on: The condition, which ends after `max_steps` itself.
        step: The next value from a value.
        start: The first value.
        max_steps: The most steps.
    """
    del max_steps
    return jax.lax.while_loop(goes_on, step, start)


def solve(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Find accelerations and forces that satisfy the constraints; replaces MJX's function.

    Args:
        model: The model.
        data: Has all that constraints follow from.

    Returns:
        The data with `qacc`, `qfrc_constraint` and `efc_force`.
    """
    data = _stop_by_cost(model, data)
    found = solver.Context.create(model, data)
    stepped = data.replace(qacc=data.qacc - found.Mgrad)
    better = solver.Context.create(model, stepped, grad=False)
    is_better = _slope(data, better) < _slope(data, found)

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(is_better, new, old)

    chosen: dict[str, Any] = {
        "qacc": choose(stepped.qacc, data.qacc),
        "qfrc_constraint": choose(better.qfrc_constraint, found.qfrc_constraint),
        "_impl.efc_force": choose(better.efc_force, found.efc_force),
    }
    return cast(mjx.Data, data.tree_replace(chosen))


def _slope(data: mjx.Data, context: Any) -> Float[Array, ""]:
    """Return the squared length of the gradient of the cost."""
    gradient = context.Ma - data.qfrc_smooth - context.qfrc_constraint
    return jnp.vdot(gradient, gradient)
