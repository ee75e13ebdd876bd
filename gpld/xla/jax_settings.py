"""JAX's own settings, as the shell or the program around a run has chosen them.

A run honours and records them. Those that change its numbers must be the same when it is
resumed.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax

from ..errors import UsageError

# Settings of JAX that change numbers, and what a run has that was recorded before they were.
_NUMERIC = {
    "jax_enable_x64": False,
    "jax_default_dtype_bits": None,
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_disable_most_optimizations": False,
    "jax_optimization_level": "UNKNOWN",
}
_DEBUGGING = ("jax_debug_nans", "jax_debug_infs")

# Settings under which the programs of a run cannot be traced, or get no data.
_GUARDED = ("disallow", "disallow_explicit")
_IMPOSSIBLE = {
    "jax_disable_jit": (True,),
    "jax_numpy_dtype_promotion": ("strict",),
    "jax_debug_key_reuse": (True,),
    "jax_transfer_guard": _GUARDED,
    "jax_transfer_guard_host_to_device": _GUARDED,
    "jax_transfer_guard_device_to_host": _GUARDED,
}
_UNSET = {
    **_NUMERIC,
    **dict.fromkeys(_DEBUGGING, False),
    **dict.fromkeys(_IMPOSSIBLE, None),
    "jax_disable_jit": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_debug_key_reuse": False,
}

# Whatever is asked for by these names, CPUs multiply numbers of float32 as such.
_EQUAL_ON_CPUS = {"default", "high", "highest", "float32", "tensorfloat32", "bfloat16",
                  "bfloat16_3x", "fastest"}  # fmt: skip


def jax_settings() -> dict[str, Any]:
    """Read the settings of this process, as a run records them.

    Raises:
        UsageError: If one of them makes runs impossible.
    """
    for name, values in _IMPOSSIBLE.items():
        if (value := _value(name)) in values:
            raise UsageError(
                f"{name.upper()} is {value!r}, with which no run is possible; unset it."
            )
    settings = {name: _value(name) for name in (*_NUMERIC, *_DEBUGGING)}
    precision = settings["jax_default_matmul_precision"]
    if jax.default_backend() == "cpu" and precision in _EQUAL_ON_CPUS:
        settings["jax_default_matmul_precision"] = None
    return settings


def check_jax_settings(stored: Mapping[str, Any] | None, now: Mapping[str, Any], run: str) -> None:
    """Check that a run is resumed with the settings that its numbers depend on.

    Args:
        stored: What `jax_settings` gave where the run began; None if that was not recorded yet.
        now: What it gives here.
        run: Name of the run for messages.

    Raises:
        UsageError: If a setting that changes numbers is another one.
    """
    stored = _NUMERIC | dict(stored or {})
    differing = [
        f"{name.upper()} is {stored[name]!r} there and {now[name]!r} here"
        for name in _NUMERIC
        if stored[name] != now[name]
    ]
    if differing:
        raise UsageError(
            f"{run} was begun under other settings of JAX ({'; '.join(differing)}), which would "
            "change its numbers; set them as they were, or begin another run with `--run`."
        )


def all_settings() -> dict[str, Any]:
    """Read the settings that a run depends on, as they are."""
    return {name: _value(name) for name in (*_NUMERIC, *_DEBUGGING, *_IMPOSSIBLE)}


def check_unchanged(before: Mapping[str, Any] | None) -> None:
    """Check that code of others, which has run meanwhile, has left JAX's settings alone.

    What it has changed is put back first, so that whatever comes next finds them as they were.

    Args:
        before: What `all_settings` gave; None if that code was the first to import JAX here.

    Raises:
        UsageError: If it has changed one.
    """
    if before is None:  # only the shell may have set one
        before = {k: value for k, value in _UNSET.items() if k.upper() not in os.environ}
    now = all_settings()
    changed = {name: now[name] for name in before if now[name] != before[name]}
    for name in changed:
        jax.config.update(name, before[name])
    if changed:
        sets = " and ".join(f"{name.upper()} to {value!r}" for name, value in changed.items())
        raise UsageError(
            f"its code sets {sets}, under which the agent would compute as well; "
            "leave that to the shell, before the run begins."
        )


def _value(name: str) -> Any:
    """Return the value of a setting; None if this version of JAX has no such setting."""
    try:
        value = jax.config.read(name)  # of those that are no attributes too
    except (AttributeError, LookupError, RuntimeError):
        value = getattr(jax.config, name, None)
    return getattr(value, "value", value) if name == "jax_numpy_dtype_promotion" else value
