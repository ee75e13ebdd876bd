"""Soft indicator functions, of which rewards are made (Tassa et al., 2018, section 2)."""

import math
from typing import Literal

import numpy as np

from .task import Array, namespace

# With which values are 0.1 at the margin. Python's numbers leave the dtype of arrays alone.
_GAUSSIAN_SCALE = float(np.sqrt(-2 * np.log(0.1)))
_LONG_TAIL_SCALE = math.sqrt(1 / 0.1 - 1)


def tolerance(
    x: Array,
    bounds: tuple[float, float] = (0.0, 0.0),
    *,
    margin: float = 0.0,
    sigmoid: Literal["gaussian", "long_tail"] = "gaussian",
    entries: bool = False,
) -> Array:
    """Return 1 where `x` lies within `bounds`, and less the farther away it is.

    Args:
        x: What should lie within the bounds.
        bounds: Lower and upper bound, both within; either may be infinite.
        margin: Distance from the bounds at which the value is 0.1; with 0 it is 0 everywhere
            outside.
        sigmoid: How the value falls.
        entries: Whether `x` holds the entries of vectors, not one number for each
            simulation. dm_control squares the two differently, see `_square`.
    """
    xp = namespace(x)
    lower, upper = bounds
    if lower == upper == 0 and margin > 0:
        return _fall(abs(x) / margin, sigmoid, entries)  # 1 at 0
    if math.isinf(upper):
        within, distance = lower <= x, lower - x
    else:
        within = xp.logical_and(lower <= x, x <= upper)
        distance = xp.where(x < lower, lower - x, x - upper)
    if margin == 0:
        return within.astype(x.dtype)
    return xp.where(within, 1.0, _fall(distance / margin, sigmoid, entries))


def ramp(x: Array, bound: float, *, margin: float, value_at_margin: float = 0.0) -> Array:
    """Return 1 from `bound` on; below it, fall linearly to a value at the margin, and on to 0."""
    xp = namespace(x)
    within, fall = bound <= x, (bound - x) / margin * (1 - value_at_margin)
    return xp.where(within, 1.0, xp.where(abs(fall) < 1, 1 - fall, 0.0))


def small_controls(ctrl: Array) -> Array:
    """Return 1 without controls, and down to 4/5 with those of 1 and more: a mean of parabolas."""
    xp = namespace(ctrl)
    parabolas = xp.where(abs(ctrl) < 1, 1 - xp.square(ctrl), 0.0)
    return (4 + parabolas.mean(axis=-1)) / 5


def _fall(x: Array, sigmoid: str, entries: bool) -> Array:
    """Return 1 at 0 and 0.1 at 1, the margin."""
    xp = namespace(x)
    square = xp.square if entries else _square
    if sigmoid == "gaussian":
        return xp.exp(-0.5 * square(x * _GAUSSIAN_SCALE))
    return 1 / (square(x * _LONG_TAIL_SCALE) + 1)


def _square(x: Array) -> Array:
    """Square one number for each simulation.

    NumPy squares its scalars, which dm_control has here, with the C library's `pow`, but
    arrays by multiplication: about one in a thousand results differs in the last bit.
    """
    if not isinstance(x, np.ndarray):
        return x * x
    return np.array([number**2 for number in x.flat], x.dtype).reshape(x.shape)
