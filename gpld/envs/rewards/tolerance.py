"""Soft indicator functions, of which rewards are made (Tassa et al., 2018, section 2)."""

import functools
import math
from typing import Literal

import numpy as np

from .task import Array, namespace

Sigmoid = Literal["gaussian", "linear", "long_tail", "quadratic"]


def tolerance(
    x: Array,
    bounds: tuple[float, float] = (0.0, 0.0),
    *,
    margin: float = 0.0,
    sigmoid: Sigmoid = "gaussian",
    value_at_margin: float = 0.1,
    entries: bool = False,
) -> Array:
    """Return 1 where `x` lies within `bounds`, and less the farther away it is.

    Args:
        x: What should lie within the bounds.
        bounds: Lower and upper bound, both within; either may be infinite.
        margin: Distance from the bounds at which the value is `value_at_margin`; with 0 it is
            0 everywhere outside.
        sigmoid: How the value falls. linear and quadratic reach 0, and stay there.
        value_at_margin: In (0, 1); 0 is allowed with linear and quadratic.
        entries: Whether `x` holds the entries of vectors, not one number for each
            simulation. dm_control squares the two differently, see `_square`.
    """
    lower, upper = bounds
    if lower == upper == 0 and margin > 0:
        return _sigmoid(abs(x) / margin, sigmoid, value_at_margin, entries)  # 1 at 0
    xp = namespace(x)
    if math.isinf(upper):
        within, distance = lower <= x, lower - x
    else:
        within = xp.logical_and(lower <= x, x <= upper)
        distance = xp.where(x < lower, lower - x, x - upper)
    if margin == 0:
        return within.astype(x.dtype)
    return xp.where(within, 1.0, _sigmoid(distance / margin, sigmoid, value_at_margin, entries))


def _sigmoid(x: Array, sigmoid: Sigmoid, value_at_1: float, entries: bool) -> Array:
    xp = namespace(x)
    square = xp.square if entries else _square
    # Scales are Python's numbers, which leave the dtype of `x` alone.
    match sigmoid:
        case "gaussian":
            return xp.exp(-0.5 * square(x * _gaussian_scale(value_at_1)))
        case "linear":
            scaled = x * (1 - value_at_1)
            return xp.where(abs(scaled) < 1, 1 - scaled, 0.0)
        case "long_tail":
            return 1 / (square(x * math.sqrt(1 / value_at_1 - 1)) + 1)
        case "quadratic":
            scaled = x * math.sqrt(1 - value_at_1)
            return xp.where(abs(scaled) < 1, 1 - square(scaled), 0.0)


@functools.cache
def _gaussian_scale(value_at_1: float) -> float:
    return float(np.sqrt(-2 * np.log(value_at_1)))


def _square(x: Array) -> Array:
    """Square one number for each simulation.

    NumPy squares its scalars, which dm_control has here, with the C library's `pow`, but
    arrays by multiplication: about one in a thousand results differs in the last bit.
    """
    if not isinstance(x, np.ndarray):
        return x * x
    return np.array([number**2 for number in x.flat], x.dtype).reshape(x.shape)
