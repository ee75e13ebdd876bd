"""The command `train`: trains an agent."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..cli import choose_platform, one_line_errors, parse_config
from ..config import Config
from ..envs import task_names
from ..machine.malloc import keep_freed_memory
from ..parallel.hosts import connect
from ..runs import start
from ..training.ending import Ending
from ..training.train import train
from ..xla.cache import cache_compilations


def main(args: Sequence[str] | None = None) -> None:
    """Train the agent that the arguments describe."""
    args = sys.argv[1:] if args is None else args
    with Ending(args) as ending, one_line_errors():
        config = parse_config(args)
        if config.task == "list":
            print("\n".join(task_names()))
            return
        path = start.default_path(config) if config.run is None else Path(config.run)
        ending.begins(config, path)
        run(config, path)


def run(config: Config, path: Path) -> None:
    """Train as the settings say, on the device that they name.

    Args:
        config: Settings.
        path: Folder of the run.

    Raises:
        MachineError: If there is no such device; and whatever `train` raises.
    """
    connect(config.distributed)
    choose_platform(config.platform, config.devices, deterministic=config.deterministic)
    cache_compilations()
    keep_freed_memory()
    train(config, path)
