"""Machine choices that a report keeps: precision, products and flags of this device."""

import dataclasses
import os
from typing import Any

import jax

from .. import agent
from ..config import Config


def choices() -> dict[str, Any]:
    """Return the choices that hold for the whole process."""
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": precision or "default",
        # Where it is set, times of compilation may be times of reading.
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR"),
    }


def describe(config: Config) -> dict[str, Any]:
    """Describe the settings and the choices that they lead to here, for a report."""
    return {
        "preset": config.preset,
        "observations": config.env.observations,
        "size": config.model.size,
        "batch": [config.replay.batch_size, config.replay.batch_length],
        "imag_length": config.ac.imag_length,
        "rho": config.gpld.rho,
        "estimator": config.gpld.estimator,
        "path": config.gpld.path,
        # What each precision that is measured means here.
        "precision": {config.precision: agent.choices(config).precision},
        "compute": dataclasses.asdict(config.compute),
    }
