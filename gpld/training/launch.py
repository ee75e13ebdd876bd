"""Start of a training process: devices, compiled programs and memory are set up, then it trains."""

from pathlib import Path

from ..cli import choose_platform
from ..config import Config
from ..machine.malloc import keep_freed_memory
from ..parallel.hosts import connect
from ..xla.cache import cache_compilations
from ..xla.flags import use_one_thread
from .train import train

_NARROW = 256  # units of the deterministic state


def launch(config: Config, path: Path) -> None:
    """Train on the device that the settings name, in a process that does nothing else.

    Args:
        config: Settings.
        path: Folder of the run.

    Raises:
        MachineError: If there is no such device; and whatever `train` raises.
    """
    if is_one_thread_faster(config):
        use_one_thread()
    connect(config.distributed)
    choose_platform(config.platform, config.devices, deterministic=config.deterministic)
    cache_compilations()
    keep_freed_memory()
    train(config, path)


def is_one_thread_faster(config: Config) -> bool:
    """Return whether threads of a CPU would wait for each other longer than they compute.

    So it is with the preset `small`: on two cores of an EPYC (Zen 3) two threads make 5 updates
    per second, one makes 9. Other kinds of runs have not been measured, and have all threads.
    """
    alone = config.seeds == config.devices == config.distributed.processes == 1
    on_host = config.loop == "host" and config.env.observations == "vectors"
    return alone and on_host and config.model.dims.deter <= _NARROW
