"""Checks of settings, which name the setting, what is allowed and what came."""

import dataclasses
import math
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin


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


def check_type(name: str, value: object, kind: Any) -> None:
    """Checks that a setting, as JSON has it, is of the type that its field is annotated with."""
    check(_fits(value, kind), name, _describe(kind), value)


def _fits(value: Any, kind: Any) -> bool:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _fits(value, args[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in args)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        each = args[:1] * len(value) if args[-1] is Ellipsis else args
        return len(each) == len(value) and all(map(_fits, value, each))
    if kind in (int, float) and isinstance(value, int):  # 1 is a number of both kinds
        return not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, kind)


def _describe(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _describe(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, args))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        return f"a list, each {_describe(args[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, "null")
