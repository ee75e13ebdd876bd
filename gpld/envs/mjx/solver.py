"""Solver of constraints, with a last step that MJX refuses in float32.

MJX's solver stops when a step no longer lowers the cost. A cost is known to some units of its last
place, and so a minimum of it to the square root of them: after an impact of the finger, where the
cost is 5e4, float32 leaves accelerations off by 3e-1 of 1e4. The gradient of the cost is known to
some units of its own last place. One more step of Newton's method, judged by the gradient, takes
the error to 3e-3, which is what rounding makes of accelerations without constraints too.
"""

from typing import Any, cast

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx._src import solver

_stop_by_cost = solver.solve


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
