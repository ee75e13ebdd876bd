"""Recorded updates of the published implementation, as far as this device agrees with them."""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ....config import Precision
from ....errors import MachineError
from ....xla.cache import cache_compilations
from ..matrix import CHECKOUT
from .part import Row, Task

_TESTS = CHECKOUT / "tests"

# What is compared elementwise; gradients and parameters are compared as whole arrays.
_LOSSES = ("loss", "metrics/", "state/")
_ROLLOUTS = ("tokens", "feat/", "prior_logit", "imag/")


def parity(task: Task) -> Iterator[Row]:
    """Yield the largest relative errors against the recordings, in float32 and in bfloat16.

    In float32 they are held against the tolerances of the tests. The recordings are of float32, and
    rounding to bfloat16 changes which class is the most probable one here and there, so that single
    numbers differ by much; the total loss and the median over all gradients say more.

    Raises:
        MachineError: If numbers in float32 are not those of the recordings.
    """
    cache_compilations()
    if not (_TESTS / "parity").is_dir():
        raise MachineError("The recordings are part of a checkout of gpld, and this is none.")
    sys.path.insert(0, str(_TESTS / "parity"))
    reference = importlib.import_module("reference")
    wrong = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for name in task.sizes.fixtures:
        path = _TESTS / "fixtures" / f"{name}.npz"
        for precision in precisions:
            updates = reference.run(reference.load(path, precision=precision))
            pairs = reference.pairs
            gradients = _norms(pairs(updates, "grads/"))
            total = [pair for pair in pairs(updates, "loss") if pair[0].endswith(": loss")]
            figures: dict[str, Any] = {
                "total loss": _largest(total),
                "rollouts": _largest(pairs(updates, *_ROLLOUTS)),
                "losses": _largest(pairs(updates, *_LOSSES)),
                "gradients": max(gradients),
                "median gradient": float(np.median(gradients)),
                "parameters": max(_norms(pairs(updates, "params/"))),
            }
            if precision == "float32":
                rtols = dict.fromkeys(("rollouts", "losses"), reference.LOSS_RTOL)
                rtols |= dict.fromkeys(("gradients", "parameters"), reference.NORM_RTOL)
                figures["as in the tests"] = all(figures[k] <= rtols[k] for k in rtols)
                wrong += [] if figures["as in the tests"] else [name]
            yield f"{name}, {precision}", figures
    if wrong:
        raise MachineError(f"Numbers in float32 differ from those recorded in {', '.join(wrong)}.")


def _largest(pairs: list[tuple[str, np.ndarray, np.ndarray]]) -> float:
    """Return the largest error, relative to each number and the mean magnitude of its array."""

    def error(actual, expected):
        scale = np.abs(expected) + np.mean(np.abs(expected))
        return np.max(_ratio(np.abs(actual - expected), scale))

    return float(max(error(actual, expected) for _, actual, expected in pairs))


def _norms(pairs: list[tuple[str, np.ndarray, np.ndarray]]) -> list[float]:
    """Return the error of each array, relative to its norm."""
    norm = np.linalg.norm
    return [float(_ratio(norm(a - b), norm(b))) for _, a, b in pairs]


def _ratio(error, scale):
    """Divide; no error of nothing is none."""
    return np.where(error == 0, 0.0, error / np.where(scale == 0, np.finfo(np.float32).tiny, scale))
