"""Versions, the card and its driver."""

import importlib.metadata
import re
import subprocess
from collections.abc import Iterator

import jax

from ....machine.provenance import provenance
from .part import Row, Task

_QUERY = "name,driver_version,memory.total,power.limit,clocks.max.sm"
_LIBRARIES = re.compile(r"(jax-cuda|nvidia-|warp-lang)", re.IGNORECASE)


def versions(task: Task) -> Iterator[Row]:
    """Yield the versions of everything that numbers and times depend on."""
    record, device = provenance(), jax.devices()[0]
    yield "commit", {"value": record["commit"]}
    yield "device", {"value": device.device_kind}
    platform = " ".join(device.client.platform_version.split())
    yield "platform", {"value": platform}
    yield "nvidia-smi", {"value": _nvidia_smi()}
    for name in ("platform", "processor", "cores"):
        yield f"machine {name}", {"value": record["machine"][name]}
    for name, version in record["versions"].items():
        yield name, {"value": version}
    libraries = {
        library.name: library.version
        for library in importlib.metadata.distributions()
        if _LIBRARIES.match(library.name)
    }
    for name, version in sorted(libraries.items()):
        yield name, {"value": version}


def _nvidia_smi() -> str:
    """Return what the driver says of the cards, or why it says nothing."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"no answer ({type(error).__name__})"
    return "; ".join(result.stdout.split("\n")).strip("; ")
