"""Description of a sweep, and the small file that holds it."""

import dataclasses
import difflib
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from ..config import Config, field_types, flatten_names
from ..config.checks import Bound, at_least, check, check_fields, check_type
from ..config.flags import parse_settings
from ..errors import UsageError
from ..machine.files import read_bytes
from ..runs.start import allow_task, check_task
from ..suite import canonical_name

_GIVEN = ("task", "seed", "seeds", "preset", "run", "resume")  # by the sweep itself

_DIFFERENT = Bound(
    "different, and at least one", lambda values: len(set(values)) == len(values) > 0
)
_PRINTABLE = Bound("names on one line", lambda names: all(map(str.isprintable, names)))
_NATURAL = Bound("numbers of at least 0", lambda numbers: min(numbers) >= 0)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Grid of runs: every arm on every task with every seed.

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

    tasks: Annotated[Sequence[str], _DIFFERENT, _PRINTABLE]
    """Tasks of the registry."""

    arms: Annotated[Mapping[str, Mapping[str, Any]], _DIFFERENT, _PRINTABLE]
    """What is compared: settings of each arm under their dotted names."""

    seeds: Annotated[Sequence[int], _DIFFERENT, _NATURAL]
    """Seed of each run of an arm on a task."""

    preset: Annotated[str, Bound("a name", str.isprintable)] = "paper"
    """What all settings begin with."""

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of all arms under their dotted names; those of an arm go before them."""

    seeds_per_program: Annotated[int, at_least(1)] = 1
    """Seeds that are trained together in one program, which takes less time than one after
    the other on devices that a single run does not fill."""

    evaluation_episodes: Annotated[int, at_least(0)] = 0
    """Episodes that each run's last agent is evaluated with when it is trained, into
    `evaluation.json`; the paper's tables have 20. 0 evaluates none."""

    def __post_init__(self):
        _check_types(vars(self))
        object.__setattr__(self, "seeds", tuple(self.seeds))  # JSON knows no ranges
        check_fields(self)
        for group in self.seed_groups:
            if list(group) != list(range(group[0], group[0] + len(group))):
                raise ValueError(
                    f"`seeds` of one program must follow each other, got {group}; "
                    "`seeds_per_program` 1 takes any."
                )
        _check_settings("settings", self.settings)
        for arm, settings in self.arms.items():
            _check_settings(f"arms.{arm}", settings)

    @property
    def seed_groups(self) -> list[tuple[int, ...]]:
        """Seeds of each job."""
        seeds, n = sorted(self.seeds), self.seeds_per_program
        return [tuple(seeds[i : i + n]) for i in range(0, len(seeds), n)]

    def flags(self, arm: str, task: str, seeds: Sequence[int], path: Path) -> list[str]:
        """Return the flags of `scripts/train.py` for one job, whose run goes to `path`."""
        task = canonical_name(task)  # a path that holds in any working directory
        flags = ["--preset", self.preset, "--task", task, "--seed", str(seeds[0])]
        if len(seeds) > 1:
            flags += ["--seeds", str(len(seeds))]
        for name, value in {**self.settings, **self.arms[arm]}.items():
            flags += _flag(name, value)
        return [*flags, "--run", str(path)]

    def config(self, arm: str, task: str, seeds: Sequence[int], path: Path) -> Config:
        """Return the settings of one job, whose run goes to `path`.

        Raises:
            UsageError: If there is no such preset, task or setting, or a value is bad.
        """
        try:
            config = parse_settings(self.flags(arm, task, seeds, path))
            allow_task(task)  # it is in the file that the user has named
            check_task(config)
            return config
        except UsageError as error:
            raise UsageError(f"Arm {arm} on {task}: {error}") from error


def read_sweep(path: Path) -> Sweep:
    """Read the file that describes a sweep, TOML or Python.

    Raises:
        UsageError: If there is none, or it does not describe a sweep.
        MachineError: If it cannot be read.
    """
    text = read_bytes(path, limit=2**20)
    if path.suffix == ".py":
        return _run(path, text)
    try:
        values = tomllib.loads(text.decode())
    except RecursionError:
        raise UsageError(f"{path}: it is nested too deeply.") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    known = [field.name for field in dataclasses.fields(Sweep)]
    if unknown := set(values) - set(known):
        raise UsageError(
            f"{path}: no {', '.join(sorted(unknown))!r} in a sweep, but {', '.join(known)}."
        )
    if absent := {"tasks", "arms", "seeds"} - set(values):
        raise UsageError(f"{path}: {', '.join(sorted(absent))} must be given.")
    try:
        _check_types(values)
        values["settings"] = flatten_names(values.get("settings", {}))
        values["arms"] = {arm: flatten_names(own) for arm, own in values["arms"].items()}
        return Sweep(**values)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _run(path: Path, text: bytes) -> Sweep:
    """Return the sweep of a Python file, whose own mistakes end in a line that says where."""
    names: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(text, path, "exec"), names)
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                 if f.filename == str(path)]  # fmt: skip
        line = getattr(error, "lineno", None) or (lines or [1])[-1]
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path}, line {line}: {type(error).__name__}: {reason}") from error
    sweep = names.get("sweep")
    if not isinstance(sweep, Sweep):
        raise UsageError(f"{path} must make `sweep = Sweep(...)`, got {sweep!r:.200}.")
    return sweep


def _check_types(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        check_type(name, value, field_types(Sweep)[name])


def _check_settings(where: str, settings: Mapping[str, Any]) -> None:
    known = {name.removesuffix("_"): kind for name, kind in field_types().items()}
    for name, value in settings.items():
        if name not in known or name in _GIVEN:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close and close[0] != name else "."
            raise ValueError(f"`{name}` is not a setting of arms, but in {where}{hint}")
        try:
            check_type(name, value, known[name])
            texts = [text for text in (value if isinstance(value, list | tuple) else [value])
                     if isinstance(text, str)]  # fmt: skip
            # They become flags, of which they must not look like another one.
            usable = all(text.isprintable() and not text.startswith("--") for text in texts)
            check(usable, name, "a text on one line, not beginning with --", value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def _flag(name: str, value: Any) -> list[str]:
    """Return a setting as flags of the command line."""
    if isinstance(value, bool):
        group, dot, own = name.rpartition(".")
        return [f"--{group}{dot}{'' if value else 'no_'}{own}"]
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{name}", *map(str, values)]
