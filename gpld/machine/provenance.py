"""Provenance of a result: time, versions, commit and machine."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("gpld", "jax", "jaxlib", "equinox", "optax", "numpy", "mujoco", "dm_control")


def provenance() -> dict[str, Any]:
    """Return the provenance that is recorded beside every result, for JSON."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": num_cores(),
            "backend": jax.default_backend(),
            "devices": [device.device_kind for device in jax.devices()],
        },
    }


def num_cores() -> int:
    """Return how many cores this process may use (Linux), or all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the name of the processor, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """Return the commit of the source tree; None outside a checkout or without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
