"""The command `gpld`: one subcommand for each script."""

import difflib
import importlib
import sys
from collections.abc import Sequence

# In the order in which a new user needs them.
COMMANDS = {
    "doctor": "Check the installation, and say how to repair it.",
    "train": "Train an agent on a task, or go on with a run.",
    "evaluate": "Evaluate agents at checkpoints of their runs, and record videos.",
    "plot": "Compare runs in learning curves, tables and a report.",
    "check-env": "Check an environment of your own against what training relies on.",
    "sweep": "Train a grid of tasks, settings and seeds, here or on a cluster.",
    "pack": "Put settings, metrics and scores of runs into one small file.",
    "sensitivity": "Measure how much a run's world model changes with its inputs.",
    "reproduce": "Make a table or figure of the paper, from training to the report.",
    "benchmark": "Measure what updates, environments and whole runs cost.",
    "gpu-check": "Check a GPU in minutes: numbers, times, memory, learning, resuming.",
    "replay-update": "Repeat an update that stopped a run, and find what is not finite.",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand, or list all of them."""
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if name in ("-h", "--help"):
        print("usage: gpld COMMAND [ARGUMENTS]\n")
        for command, sentence in COMMANDS.items():
            print(f"  {command:15}{sentence}")
        print("\n`gpld COMMAND --help` lists the arguments of a command.")
        return
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        print(f"error: Unknown command {name!r}; {hint}`gpld --help` lists all.", file=sys.stderr)
        sys.exit(2)
    sys.argv[0] = f"gpld {name}"  # which the command's own help shows
    importlib.import_module(f"gpld.commands.{name.replace('-', '_')}").main(rest)


if __name__ == "__main__":
    main()
