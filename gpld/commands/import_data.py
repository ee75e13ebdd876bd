"""The command `import-data`: makes a replay to train on from episodes of others."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from ..cli import one_line_errors
from ..config.checks import at_least, check, check_fields
from ..config.flags import parse
from ..datasets import Bounds, MinariSource, NpzSource, Source, import_episodes, is_minari
from ..datasets.episode import are_finite
from ..errors import UsageError
from ..machine.output import show
from ..training.ending import command


@dataclasses.dataclass(frozen=True)
class ImportDataArgs:
    """Convert recorded episodes to a replay, which `scripts/train.py --offline` trains on.

    A line names every episode that is refused and says why; counts and ranges follow.
    """

    source: tyro.conf.Positional[Path]
    """Folder of .npz files with an episode each, one such file, or the folder of a Minari
    dataset."""

    out: tyro.conf.Positional[Path]
    """Folder to write, new or empty."""

    task: str | None = None
    """Name of the task, which `--task` then names in training. None takes that of the source. An
    agent is evaluated in the environment of this name; a world model needs none."""

    action_repeat: Annotated[int, at_least(1)] = 1
    """Control steps of the simulator that each recorded action was repeated for; frames count
    them."""

    image_size: Annotated[int | None, at_least(1)] = None
    """Pixels along both sides to which images are resized; None leaves them as they are. The model
    takes sides that are multiples of 16, unless it has other layers."""

    low: tuple[float, ...] = ()
    """Lowest actions, one number for all entries or one for each, in place of the source's."""

    high: tuple[float, ...] = ()
    """Highest actions, likewise."""

    num_actions: Annotated[int | None, at_least(1)] = None
    """Number of discrete actions in .npz files, in place of theirs."""

    def __post_init__(self):
        check_fields(self)
        check(bool(self.low) == bool(self.high), "low", "given together with `high`", self.low)
        for name in ("low", "high"):
            numbers = getattr(self, name)
            finite = are_finite(Bounds(np.array(numbers), np.array(numbers)))
            check(finite, name, "finite numbers", numbers)

    def open(self) -> Source:
        """Open the source.

        Raises:
            UsageError: If it cannot be read, or a flag does not go with it.
        """
        bounds = None
        if self.low:
            bounds = Bounds(np.array(self.low).squeeze(), np.array(self.high).squeeze())
        if not is_minari(self.source):
            return NpzSource(self.source, bounds=bounds, num_actions=self.num_actions)
        if self.num_actions is not None:
            raise UsageError("`--num_actions` is for .npz files: a Minari dataset says it itself.")
        return MinariSource(self.source, bounds=bounds)


def main(args: Sequence[str] | None = None) -> None:
    """Import the episodes that the arguments name."""
    with one_line_errors():
        options: ImportDataArgs = parse(ImportDataArgs, sys.argv[1:] if args is None else args)
        imported = import_episodes(
            options.open(),
            options.out,
            task=options.task,
            action_repeat=options.action_repeat,
            image_size=options.image_size,
        )
        task = imported.data.task
        flags = ["--task", task, "--env.action_repeat", str(options.action_repeat)]
        if options.image_size is not None:
            flags += ["--env.image_size", str(options.image_size)]
        flags += ["--offline", str(options.out), "--learn", "world_model"]
        show(imported.describe())
        show(f"train on it with `{command('train', *flags)}`")
