"""Choice of the engine that steps a task."""

from typing import Literal, get_args

from ..suite import canonical_name
from . import probe
from .own import is_own, may_be_functional

Backend = Literal["auto", "dmc", "batch", "mjx"]

Implementation = Literal["jax", "warp"]
"""Implementation of MJX: JAX's own, which also differentiates, or Warp's for NVIDIA GPUs."""


def choose_backend(
    task: str, backend: str = "auto", observations: str = "vectors"
) -> Literal["dmc", "batch", "mjx"]:
    """Return the engine that steps a task; `auto` takes batch where it can.

    Probes and environments of one's own are stepped as tasks of dmc are, one after the other; for
    mjx some of both are functions too.

    Args:
        task: A known task, or a short form.
        backend: What was asked for, one of `Backend`.
        observations: vectors, pixels or both.

    Raises:
        ValueError: If that engine cannot step the task; says why.
    """
    if backend not in get_args(Backend):
        allowed = ", ".join(get_args(Backend))
        raise ValueError(f"`backend` must be one of {allowed}, got {backend!r}.")
    if backend == "dmc":
        return "dmc"
    reason = _why_not(task, backend, observations)
    if reason is not None and backend != "auto":
        raise ValueError(f"`backend` must be auto or dmc for {task}, got {backend}: {reason}.")
    return "dmc" if reason else "mjx" if backend == "mjx" else "batch"


def check_implementation(argument: str, impl: str) -> None:
    """Raise a `ValueError` that names the argument, if there is no such implementation."""
    if impl not in (known := get_args(Implementation)):
        raise ValueError(f"`{argument}` must be one of {', '.join(known)}, got {impl!r}.")


def _why_not(task: str, backend: str, observations: str) -> str | None:
    """Return why batch or MJX, which cover the same tasks of MuJoCo, does not step this one."""
    if backend == "mjx" and task in probe.TASKS:
        from .functional.probe import TASKS  # imports JAX

        return None if task in TASKS else "this probe is no function in JAX"
    if task in probe.TASKS:
        return "a probe is no task of MuJoCo"
    if is_own(task):
        if backend == "mjx" and may_be_functional(task):
            return None  # which is known once it is made
        return "it is an environment of your own"
    if observations != "vectors":
        return "it draws no pictures"
    from .dmc import env  # noqa: F401 (chooses OpenGL before mujoco is imported)
    from .rewards import COVERED

    if canonical_name(task) not in COVERED:
        return "it has no definition of this task's observation and reward"
    return None
