"""`scripts/train.py`: trains an agent."""

import sys
from collections.abc import Sequence
from pathlib import Path

from .. import run_start, training
from ..cli import choose_platform, one_line_errors, parse_config
from ..compilations import cache_compilations
from ..config import Config
from ..envs import task_names
from ..heap import keep_freed_memory
from ..peers import connect


def main(args: Sequence[str] | None = None) -> None:
    """`scripts/train.py`: trains an agent."""
    with one_line_errors():
        config = parse_config(sys.argv[1:] if args is None else args)
        if config.task == "list":
            print("\n".join(task_names()))
            return
        run(config)


def run(config: Config) -> None:
    """Trains as the settings say, on the device that they name.

    Args:
        config: Settings.

    Raises:
        MachineError: If there is no such device; and whatever `train` raises.
    """
    connect(config.distributed)
    choose_platform(config.platform, config.devices, deterministic=config.deterministic)
    cache_compilations()
    keep_freed_memory()
    path = run_start.default_path(config) if config.run is None else Path(config.run)
    training.train(config, path)
