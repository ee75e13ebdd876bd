"""The command `gpld`: one subcommand for each script."""

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

# In the order in which a new user needs them.
_GROUPS = {
    "Train and look": {
        "doctor": "Check the installation, and say how to repair it.",
        "train": "Train an agent on a task, or go on with a run.",
        "evaluate": "Evaluate agents at checkpoints of their runs, and record videos.",
        "plot": "Compare runs in learning curves, tables and a report.",
        "export": "Write the agent of a run into a small folder, to share or to keep.",
        "diff": "Show in which settings presets and runs differ, and what these mean.",
    },
    "Your own environments and data": {
        "check-env": "Check an environment of your own against what training relies on.",
        "import-data": "Make a replay to train on from recorded episodes.",
    },
    "Many runs": {
        "sweep": "Train a grid of tasks, settings and seeds, here or on a cluster.",
        "pack": "Put settings, metrics and scores of runs into one small file.",
        "sensitivity": "Measure how much a run's world model changes with its inputs.",
        "prediction-study": "Compare what world models predict, with the penalty and without.",
        "reproduce": "Make a table or figure of the paper, from training to the report.",
    },
    "Your machine": {
        "benchmark": "Measure what updates, environments and whole runs cost.",
        "gpu-check": "Check a GPU in minutes: numbers, times, memory, learning, resuming.",
        "replay-update": "Repeat an update that stopped a run, and find what is not finite.",
        "completion": "Let bash, zsh or fish complete commands, flags and values.",
    },
}
COMMANDS = {name: text for group in _GROUPS.values() for name, text in group.items()}


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand, or list all of them."""
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return
    if name == "--version":
        print(f"gpld {importlib.metadata.version('gpld')}")
        return
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        print(f"error: Unknown command {name!r}; {hint}`gpld --help` lists all.", file=sys.stderr)
        sys.exit(2)
    sys.argv[0] = f"gpld {name}"  # which the command's own help shows
    importlib.import_module(f"gpld.commands.{name.replace('-', '_')}").main(rest)


def _help() -> str:
    """Return the list of commands."""
    lines = ["usage: gpld COMMAND [ARGUMENTS]"]
    for title, commands in _GROUPS.items():
        lines += ["", title, *(f"  {name:17}{text}" for name, text in commands.items())]
    return "\n".join(
        [
            *lines,
            "",
            "`gpld train --preset small --env.action_repeat 4 --run runs/first` trains an agent in",
            "a quarter of an hour, `gpld plot runs/first` shows what it has learned. `gpld COMMAND",
            "--help` lists the arguments of a command, `gpld --version` tells the version.",
        ]
    )


if __name__ == "__main__":
    main()
