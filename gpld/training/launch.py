"""Start of a training process: devices, compiled programs and memory are set up, then it trains."""

from pathlib import Path

from ..cli import choose_platform
from ..config import Config
from ..machine.malloc import keep_freed_memory
from ..parallel.hosts import connect
from ..xla.cache import cache_compilations
from .train import train

_SMALL_DETER = 256


def launch(config: Config, path: Path) -> None:
    """Train on the device that the settings name, in a process that does nothing else.

    Args:
        config: Settings.
        path: Folder of the run.

    Raises:
        MachineError: If there is no such device; and whatever `train` raises.
    """
    connect(config.distributed)
    choose_platform(config.platform, config.devices, deterministic=config.deterministic)
    cache_compilations()
    # With small networks there is little to keep, and what compiling leaves in the single heap
    # makes an update take 1.5 to 2 times as long.
    if config.model.dims.deter > _SMALL_DETER:
        keep_freed_memory()
    train(config, path)
