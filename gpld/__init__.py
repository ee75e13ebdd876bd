"""GPLD-DreamerV3: world models whose latent dynamics are penalised for roughness.

The names below are imported when they are first used, so that processes which only step
environments need not load JAX.
"""

import sys
from typing import TYPE_CHECKING, Any

from .xla.flags import set_options

if sys.platform == "win32":  # before a module that needs Unix fails with a traceback
    sys.exit("gpld runs on Linux and macOS; on Windows, install it in WSL2 (`wsl --install`).")
set_options()

if TYPE_CHECKING:
    from .config import Config as Config
    from .config.presets import PRESETS as PRESETS
    from .envs import make_env as make_env, register as register, task_names as task_names
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.trained_agent import load as load
    from .training.train import train as train

_HOMES = {
    "Config": "config",
    "PRESETS": "config.presets",
    "evaluate": "evaluation.evaluate",
    "load": "evaluation.trained_agent",
    "make_env": "envs",
    "register": "envs",
    "task_names": "envs",
    "train": "training.train",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Imports one of the public names (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
