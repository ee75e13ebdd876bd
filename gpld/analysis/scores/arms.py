"""Names of what is compared: methods, settings in which they differ, and tasks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...config import Config, flatten
from ...config.flat import MAY_CHANGE
from ...envs.score_range import score_range
from ...errors import UsageError
from ...machine.files import read_json
from ...suite import short_name

ARMS = "arms.json"
"""In the folder of a sweep: the name of each arm by the folder that holds its runs."""

_OF_TASKS = ("env.action_repeat", "env.image_size", "env.kwargs")

_NO_ARM = ("task", "seed", "seeds", "resume", "offline", "deterministic", "distributed.")


def sweeps_of(run: Path) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """Finds the sweep that a run is linked into, if there is one, and then its own.

    Args:
        run: Folder of the run.

    Yields:
        The name of its arm, None if the sweep does not name it; and the parts of its path in
        the folder of the sweep, such as `GPLD`, `walker_run`, `seed0`.

    Raises:
        UsageError: If a sweep's names of arms cannot be read.
        MachineError: As above.
    """
    for path in (run.absolute(), run.resolve()):
        folder = next((f for f in path.parents if (f / ARMS).exists()), None)
        if folder is not None:
            place = path.relative_to(folder).parts
            arm = read_json(folder / ARMS).get(place[0])
            if not isinstance(arm, str | None):
                raise UsageError(f"{folder / ARMS} must name arms, got {arm!r}.")
            yield arm, place


def task_name(config: Config) -> str:
    """Return the name of a run's task in tables, the same for a file that has been moved.

    Where the range of its returns is known, arguments of the environment may change it: with them
    it is another task, whose range is not known.
    """
    if config.env.kwargs != "{}" and score_range(config.task) is not None:
        return f"{config.task} {config.env.kwargs}"
    return short_name(config.task)


def label_arms(configs: Sequence[Config]) -> list[str]:
    """Names the arm of each run, from its settings.

    DreamerV3 has no penalty and GPLD has one. Settings in which the runs of one of these differ
    are appended, but for those that do not touch what is learned.
    """
    methods = [_method(config) for config in configs]
    runs = [
        (method, task_name(config), _settings(config))
        for method, config in zip(methods, configs, strict=True)
    ]
    labels = []
    for method, task, own in runs:
        same = [(t, s) for m, t, s in runs if m == method]
        differing = [
            name
            for name in own
            # Tasks have defaults of their own, which tell no arms apart.
            if any(s[name] != own[name] for t, s in same if t == task or name not in _OF_TASKS)
        ]
        labels.append(", ".join([method, *(f"{name} {own[name]}" for name in differing)]))
    return labels


def _method(config: Config) -> str:
    return "GPLD" if config.gpld.coefficients else "DreamerV3"


def _settings(config: Config) -> dict[str, object]:
    """Return the settings that tell arms apart; without a penalty its others do nothing."""
    settings = {k: v for k, v in flatten(config).items() if not k.startswith(MAY_CHANGE + _NO_ARM)}
    if not config.gpld.coefficients:
        settings = {k: v for k, v in settings.items() if not k.startswith("gpld.")}
    return settings
