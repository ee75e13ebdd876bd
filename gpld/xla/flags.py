"""Options of XLA, most of which must be set before JAX starts."""

import importlib.metadata
import os
import sys
import warnings
from pathlib import Path

from ..errors import UsageError

_FUSIONS = "--xla_cpu_experimental_ynn_fusion_type"
_PRODUCTS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_GRAPHS = "--xla_gpu_enable_command_buffer"
_LOOPS = "+WHILE"  # beside what XLA captures anyway
_DETERMINISTIC = (
    # Reductions without races, and the same choice of algorithms in every process.
    "--xla_gpu_deterministic_ops=true",
    "--xla_gpu_autotune_level=0",
)
_KNOWN = ("0.10", "0.11")  # as pyproject.toml bounds them


def set_options() -> None:
    """Set the options of XLA that programs need here; what the user has set in `XLA_FLAGS` stands.

    Fusions of CPU programs that give wrong numbers are turned off. From jaxlib 0.10.2 on, XLA
    hands sums and small products on CPUs to another library, which crashes for some shapes
    (github.com/jax-ml/jax, issues 39257 and 40412) and silently miscomputes others: the
    vector-Jacobian products of an RMSNorm, for instance, in batches beyond some size. Single
    products of matrices it computes well, and those of bfloat16 with float32 sums several times
    faster than anything else.

    Loops of GPU programs are captured whole in CUDA graphs: the host starts each of them once,
    instead of once in every round. `--xla_gpu_enable_command_buffer=-WHILE` turns that off.

    Warns where JAX has started already, and of a jaxlib of which nothing is known here.
    """
    flags, version = " ".join(_given()), _jaxlib()
    options = {_FUSIONS: _PRODUCTS, _GRAPHS: _LOOPS}
    missing = [f"{name}={value}" for name, value in options.items() if name not in flags]
    if not missing or version is None:
        return
    if not _are_options_known():
        if _FUSIONS not in flags:
            warnings.warn(
                f"gpld does not know jaxlib {version}, only {' and '.join(_KNOWN)}: programs on "
                "CPUs may silently give wrong numbers, since it cannot turn off the fusions of XLA "
                "that do. Install the jax that gpld asks for, or try `pytest -m slow "
                "tests/xla/test_flags.py` first.",
                stacklevel=3,
            )
        return
    os.environ["XLA_FLAGS"] = " ".join([flags, *missing]).strip()
    if _has_started():
        effect = "give wrong numbers on CPUs" if _FUSIONS not in flags else "take longer on GPUs"
        warnings.warn(
            "gpld was imported after JAX had started, too late to set options of XLA, without "
            f"which programs may {effect}: import gpld first, or set "
            f"XLA_FLAGS='{' '.join(missing)}'.",
            stacklevel=3,
        )


def simulation_options() -> dict[str, bool]:
    """Return options of `jax.jit` for simulators: thousands of operations on a few numbers.

    On CPUs each of their fusions is compiled by a pipeline of its own, unless that is turned off:
    walker and quadruped then compile in 0.6 times the time, and run about as fast; cartpole,
    which has no contacts, may run at 0.85 of the speed.
    """
    from .choices import backend

    if backend() != "cpu" or not _are_options_known():
        return {}
    return {"xla_cpu_use_fusion_emitters": False}


def make_deterministic() -> None:
    """Make GPU programs give the same numbers every time; CPU programs do so anyway.

    Raises:
        UsageError: If JAX has started, which reads these options once.
    """
    flags = _given()
    missing = [option for option in _DETERMINISTIC if option not in flags]
    if missing and _has_started():
        raise UsageError(
            "`deterministic` must be set before JAX starts, but it has: use a new process, or "
            f"start this one with XLA_FLAGS='{' '.join([*flags, *missing])}'."
        )
    os.environ["XLA_FLAGS"] = " ".join([*flags, *missing])


def _given() -> list[str]:
    """Return the options in `XLA_FLAGS`, or in the file that it names instead."""
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA would take options behind the name of a file for a part of the name.
    if not flags.lstrip().startswith("-") and Path(flags.strip()).is_file():
        flags = Path(flags.strip()).read_text()
    return flags.split()


def _has_started() -> bool:
    """Return whether JAX has its devices, and XLA has read its options."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _are_options_known() -> bool:
    """Return whether the installed XLA knows these options; with others it does not start."""
    version = _jaxlib()
    return version is not None and version.startswith(tuple(f"{known}." for known in _KNOWN))


def _jaxlib() -> str | None:
    """Return the version of jaxlib; None if there is none, which importing JAX reports."""
    try:
        return importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return None
