"""Requirements of MJX's Warp implementation."""

import importlib.util

import jax

from ...errors import MachineError


def check_warp() -> None:
    """Check that Warp can run here.

    Raises:
        ValueError: If numbers are float64.
        MachineError: If something is missing.
    """
    if jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("`impl` must be jax where JAX has float64 enabled: Warp is float32 alone.")
    if importlib.util.find_spec("warp") is None:
        raise MachineError("MJX's Warp implementation needs Warp: `pip install 'gpld[warp]'`.")
    if jax.default_backend() != "gpu":
        raise MachineError("MJX's Warp implementation needs an NVIDIA GPU; `jax` needs none.")
