"""Checks of settings, which name the setting, what is allowed and what came."""

import dataclasses
import math
from typing import Literal, get_args, get_origin


def check(condition: bool, name: str, allowed: str, value: object) -> None:
    """Raises a ValueError about a setting unless the condition holds."""
    if not condition:
        raise ValueError(f"`{name}` must be {allowed}, got {value!r}.")


def check_choices(config: object, group: str = "") -> None:
    """Checks the settings that have named values, for callers that parse no flags."""
    for field in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        if get_origin(field.type) is Literal:
            choices, value = get_args(field.type), getattr(config, field.name)
            check(value in choices, group + field.name, f"one of {', '.join(choices)}", value)


def check_finite(config: object, group: str, *names: str) -> None:
    """Checks settings in which infinity says nothing; others turn off a limit with it."""
    for name in names:
        value = getattr(config, name)
        check(value is None or math.isfinite(value), group + name, "finite", value)
