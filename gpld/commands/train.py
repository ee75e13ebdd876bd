"""The command `train`: trains an agent."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..cli import one_line_errors, parse_config
from ..envs import task_names
from ..runs import start


def main(args: Sequence[str] | None = None) -> None:
    """Train the agent that the arguments describe."""
    args = sys.argv[1:] if args is None else args
    directory = os.getcwd()  # which code of the user's may leave
    with one_line_errors():
        config = parse_config(args)
        if config.task == "list":
            print("\n".join(task_names()))
            return
        # Imported here: networks take a second, and `--help` and mistakes need none.
        from ..training.ending import Ending
        from ..training.launch import launch

    with Ending(args, directory) as ending, one_line_errors():
        path = start.default_path(config) if config.run is None else Path(config.run)
        ending.begins(config, path)
        launch(config, path)
