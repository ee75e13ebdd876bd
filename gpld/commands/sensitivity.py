"""`scripts/sensitivity.py`: measures how sensitive the world model of a run is."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from ..analysis import sensitivity_figure
from ..analysis.sensitivity import describe, measure_sensitivity, save
from ..cli import check_least, check_task, one_line_errors, parse
from ..machine.files import check_file
from ..runs.folder import RunFolder
from ..xla.cache import cache_compilations


@dataclasses.dataclass(frozen=True)
class SensitivityArgs:
    """Measures how much a run's prior and posterior change with their inputs.

    At every checkpoint; prints means over states and perturbations and writes
    `sensitivity.json` and `sensitivity.png` into the run folder (paper, appendix F).
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""

    states: int = 1000
    """States per checkpoint, from whole episodes with sampled actions."""

    num_envs: int = 4
    """Environments that run in parallel, at most one for each state."""

    seed: int = 0
    """Seeds environments, actions and perturbations."""

    def __post_init__(self):
        check_least(self, states=1, num_envs=1, seed=0)


def main(args: Sequence[str] | None = None) -> None:
    """`scripts/sensitivity.py`: measures how sensitive the world model of a run is."""
    with one_line_errors():
        options: SensitivityArgs = parse(SensitivityArgs, sys.argv[1:] if args is None else args)
        folder = RunFolder(options.run)
        check_task(folder.config())
        folder.check_links()
        check_file(folder.path / "sensitivity.json")
        cache_compilations()
        settings = {
            "num_states": options.states,
            "num_envs": options.num_envs,
            "seed": options.seed,
        }
        measured = []
        for checkpoint in measure_sensitivity(folder, **settings):
            print(describe(checkpoint), flush=True)
            measured.append(checkpoint)
        save(folder, measured, **settings)
        sensitivity_figure(folder, measured)
        print(f"wrote sensitivity.json and sensitivity.png in {folder.path}")
