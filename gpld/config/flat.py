"""Settings under their dotted names, as flags have them, and differences between two runs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..suite import same_task
from .config import Config, to_dict

MAY_CHANGE = (
    "env_steps",
    "run",
    "resume",
    "preset",
    "platform",
    "profile",
    "devices",
    "distributed.process_id",
    "distributed.coordinator",
    "env.workers",
    "env.timeout",
    "env.max_restarts",
    "replay.storage",
    "optimizer.max_skips",
    "evaluation.",
    "log.",
    "checkpoint.",
)
"""Settings that do not touch what is learned: a run may go on with others."""

# dmc and batch, one of which `auto` stands for, give the same bits: a run may change between them.
_ENGINE = "env.backend"


def flatten(config: Config) -> dict[str, Any]:
    """Return every setting by its dotted name, such as `gpld.lambda0`."""
    return flatten_names(to_dict(config))


def lasting(config: Config) -> dict[str, Any]:
    """Return the settings that a run must go on with, as JSON holds them, by dotted names.

    The precision is not among them: what `auto` stands for counts, which `run.json` says.
    """
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in flatten(config).items()
        if not name.startswith(MAY_CHANGE) and name != "precision"
    }


def field_types(cls: type = Config, prefix: str = "") -> dict[str, Any]:
    """Return the annotation of every setting, by its dotted name."""
    found = {}
    for field in dataclasses.fields(cls):
        name, kind = prefix + field.name, field.type
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found |= field_types(kind, f"{name}.")
        else:
            found[name] = kind
    return found


def flatten_names(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted names."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_names(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the settings that keep a run from going on, one phrase for each.

    Args:
        stored: Settings of the run by their dotted names.
        wanted: Those that it would go on with.
    """
    return [
        f"{name} is {stored.get(name)!r} there and {value!r} here"
        for name, value in wanted.items()
        if not (value == stored.get(name) or name.startswith(MAY_CHANGE))
        and not (name == _ENGINE and "mjx" not in (value, stored.get(name)))
        and not (name == "task" and same_task(value, stored.get(name, "")))
    ]
