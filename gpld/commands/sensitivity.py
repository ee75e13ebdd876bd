"""The command `sensitivity`: measures how sensitive the world model of a run is."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ..cli import one_line_errors
from ..config.checks import at_least, check_fields
from ..config.flags import parse
from ..errors import UsageError
from ..machine.files import check_file
from ..runs.folder import RunFolder
from ..runs.start import read_settings
from ..runs.zoo import is_of_zoo
from ..xla.cache import cache_compilations


@dataclasses.dataclass(frozen=True)
class SensitivityArgs:
    """Measure how much a run's prior and posterior change with their inputs.

    At every checkpoint; prints means over states and perturbations and writes
    `sensitivity.json` and `sensitivity.png` into the run folder (paper, appendix F).
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""

    states: Annotated[int, at_least(1)] = 1000
    """States per checkpoint, from whole episodes with sampled actions."""

    num_envs: Annotated[int, at_least(1)] = 4
    """Environments that run in parallel, at most one for each state."""

    seed: Annotated[int, at_least(0)] = 0
    """Seeds environments, actions and perturbations."""

    task: str | None = None
    """Task of the run, once more, if it is code of your own: what is stored runs none."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str] | None = None) -> None:
    """Measure the run that the arguments name."""
    with one_line_errors():
        options: SensitivityArgs = parse(SensitivityArgs, sys.argv[1:] if args is None else args)
        folder = RunFolder(options.run)
        if is_of_zoo(options.run):
            raise UsageError(
                f"`run` must be a folder, since the result is written into it, got {options.run}; "
                f"`gpld export {options.run} FOLDER` makes one."
            )
        (config,) = read_settings([folder], options.task)
        folder.check_links()
        check_file(folder.path / "sensitivity.json")
        # Imported here: they take a second, and `--help` and mistakes need none of it.
        from ..analysis.figures import sensitivity_figure
        from ..analysis.sensitivity import describe, measure_sensitivity, save

        cache_compilations()
        settings = {
            "num_states": options.states,
            "num_envs": options.num_envs,
            "seed": options.seed,
        }
        measured = []
        for checkpoint in measure_sensitivity(folder, task=config.task, **settings):
            print(describe(checkpoint), flush=True)
            measured.append(checkpoint)
        save(folder, measured, **settings)
        sensitivity_figure(folder, measured)
        print(f"wrote sensitivity.json and sensitivity.png in {folder.path}")
