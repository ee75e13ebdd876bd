"""Checks of settings, whose messages name the setting, what is allowed and what came."""

import dataclasses
import math
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin


def check(condition: bool, name: str, allowed: str, value: object) -> None:
    """Raise a ValueError about a setting unless the condition holds."""
    if not condition:
        raise ValueError(f"`{name}` must be {allowed}, got {value!r:.200}.")


class Bound(NamedTuple):
    """Condition that a setting must meet, beside its type: `Annotated[int, at_least(1)]`."""

    allowed: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Bound:
    """Bound of numbers that are not below `least`."""
    return Bound(f"at least {least}", lambda value: value >= least)


def each_at_least(least: int) -> Bound:
    """Bound of tuples with at least one number, none of which is below `least`."""
    return Bound(
        f"numbers of at least {least}", lambda values: len(values) > 0 and min(values) >= least
    )


def within(interval: str) -> Bound:
    """Bound of numbers in an interval such as `(0, 1]`."""
    low, high = map(float, interval[1:-1].split(","))
    from_low = operator.ge if interval[0] == "[" else operator.gt
    to_high = operator.le if interval[-1] == "]" else operator.lt
    return Bound(f"in {interval}", lambda value: from_low(value, low) and to_high(value, high))


POSITIVE = Bound("positive", lambda value: value > 0)
NON_NEGATIVE = Bound("non-negative", lambda value: value >= 0)
FINITE = Bound("finite", math.isfinite)
"""For settings in which infinity says nothing; others turn off a limit with it."""


def check_fields(config: object, group: str = "") -> None:
    """Check every setting of a dataclass against its named values and its bounds.

    Args:
        config: The settings; those that are None are not checked.
        group: What stands before their names in messages, such as `env.`.

    Raises:
        ValueError: If one is not allowed.
    """
    for field in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        name, kind, value = group + field.name, field.type, getattr(config, field.name)
        if get_origin(kind) is Literal:
            choices = get_args(kind)
            check(value in choices, name, f"one of {', '.join(choices)}", value)
        elif get_origin(kind) is Annotated and value is not None:
            for bound in get_args(kind)[1:]:
                if isinstance(bound, Bound):
                    check(bound.holds(value), name, bound.allowed, value)


def check_type(name: str, value: object, kind: Any) -> None:
    """Check that a setting, as JSON has it, is of the type that its field is annotated with."""
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
    if origin is Sequence:
        is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return is_list and all(_fits(own, args[0]) for own in value)
    if origin is Mapping:
        is_table = isinstance(value, Mapping)
        return is_table and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    if kind in (int, float) and isinstance(value, int):  # 1 is a number of both kinds
        return not isinstance(value, bool) and -(2**63) <= value < 2**63
    return kind is Any or isinstance(value, kind)


def _describe(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _describe(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, args))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (tuple, Sequence):
        return f"a list, each {_describe(args[0])}"
    if origin is Mapping:
        return "a table" if args[1] is Any else f"a table, each {_describe(args[1])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, "null")
