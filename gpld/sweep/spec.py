"""What a sweep is made of, and the small file that says it."""

import dataclasses
import runpy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cli import parse_config
from ..config import Config, flatten_names
from ..errors import UsageError

_GIVEN = ("task", "seed", "seeds", "preset", "run", "resume", "offline")  # by the sweep itself


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Every arm on every task with every seed.

    As a TOML file:

        preset = "small"
        tasks = ["cartpole_swingup", "walker_stand"]
        seeds = [0, 1, 2]

        [settings]
        env_steps = 20_000

        [arms.DreamerV3]
        gpld.lambda0 = 0.0

        [arms.GPLD]

    or as a Python file that makes `sweep = Sweep(...)`.
    """

    tasks: Sequence[str]
    """Tasks of the registry."""

    arms: Mapping[str, Mapping[str, Any]]
    """What is compared: settings of each arm under their dotted names."""

    seeds: Sequence[int]
    """Seed of each run of an arm on a task."""

    preset: str = "paper"
    """What all settings begin with."""

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of all arms under their dotted names; those of an arm go before them."""

    seeds_per_program: int = 1
    """Seeds that are trained together in one program, which takes less time than one after
    the other on devices that a single run does not fill."""

    evaluation_episodes: int = 0
    """Episodes that each run's last agent is evaluated with when it is trained, into
    `evaluation.json`; the paper's tables have 20. 0 evaluates none."""

    def __post_init__(self):
        for name in ("tasks", "arms", "seeds"):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise ValueError(f"`{name}` must be different, and at least one, got {values}.")
        if not all(isinstance(seed, int) and seed >= 0 for seed in self.seeds):
            raise ValueError(f"`seeds` must be numbers of at least 0, got {self.seeds}.")
        if self.evaluation_episodes < 0:
            raise ValueError(
                f"`evaluation_episodes` must be at least 0, got {self.evaluation_episodes}."
            )
        if self.seeds_per_program < 1:
            raise ValueError(
                f"`seeds_per_program` must be at least 1, got {self.seeds_per_program}."
            )
        for group in self.seed_groups:
            if list(group) != list(range(group[0], group[0] + len(group))):
                raise ValueError(
                    f"`seeds` of one program must follow each other, got {group}; "
                    "`seeds_per_program` 1 takes any."
                )
        for arm, settings in self.arms.items():
            for name in (*self.settings, *settings):
                if name in _GIVEN:
                    raise ValueError(f"`{name}` is not a setting of arms ({arm}).")

    @property
    def seed_groups(self) -> list[tuple[int, ...]]:
        """The seeds of each program."""
        seeds, n = sorted(self.seeds), self.seeds_per_program
        return [tuple(seeds[i : i + n]) for i in range(0, len(seeds), n)]

    def flags(self, arm: str, task: str, seeds: Sequence[int], path: Path) -> list[str]:
        """Flags of `scripts/train.py` for one program, whose run goes to `path`."""
        flags = ["--preset", self.preset, "--task", task, "--seed", str(seeds[0])]
        if len(seeds) > 1:
            flags += ["--seeds", str(len(seeds))]
        for name, value in {**self.settings, **self.arms[arm]}.items():
            flags += _flag(name, value)
        return [*flags, "--run", str(path)]

    def config(self, arm: str, task: str, seeds: Sequence[int], path: Path) -> Config:
        """Settings of one program, whose run goes to `path`.

        Raises:
            UsageError: If there is no such preset, task or setting, or a value is bad.
        """
        try:
            return parse_config(self.flags(arm, task, seeds, path))
        except UsageError as error:
            raise UsageError(f"Arm {arm} on {task}: {error}") from error


def read_sweep(path: Path) -> Sweep:
    """Reads the file that describes a sweep, TOML or Python.

    Raises:
        UsageError: If it cannot be read, or does not describe a sweep.
    """
    try:
        if path.suffix == ".py":
            sweep = runpy.run_path(str(path)).get("sweep")
            if not isinstance(sweep, Sweep):
                raise UsageError(f"{path} must make `sweep = Sweep(...)`, got {sweep!r}.")
            return sweep
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the sweep {path}: {error.strerror}.") from error
    except ValueError as error:  # of the file's form, or of Sweep
        raise UsageError(f"{path}: {error}") from error
    known = [field.name for field in dataclasses.fields(Sweep)]
    if unknown := set(values) - set(known):
        raise UsageError(f"{path}: no {', '.join(sorted(unknown))} in a sweep, but {known}.")
    if absent := {"tasks", "arms", "seeds"} - set(values):
        raise UsageError(f"{path}: {', '.join(sorted(absent))} must be given.")
    try:
        values["settings"] = flatten_names(values.get("settings", {}))
        values["arms"] = {arm: flatten_names(own) for arm, own in values["arms"].items()}
        return Sweep(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: {error}") from error


def _flag(name: str, value: Any) -> list[str]:
    """A setting as flags of the command line."""
    if isinstance(value, bool):
        group, dot, own = name.rpartition(".")
        return [f"--{group}{dot}{'' if value else 'no_'}{own}"]
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{name}", *map(str, values)]
