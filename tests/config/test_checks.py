"""Bounds beside the types of settings, and the types themselves."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from gpld.config.checks import at_least, check_fields, check_type, each_at_least, within


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("(0, 1]", (0.1, 1), (0, 1.1, float("nan"))),
        ("[0, 1)", (0, 0.9), (-0.1, 1)),
        ("[-2, 100]", (-2, 100), (-2.1, 101)),
    ],
)
def test_brackets_say_which_ends_belong_to_an_interval(interval, inside, outside):
    bound = within(interval)
    assert bound.allowed == f"in {interval}"
    assert all(map(bound.holds, inside))
    assert not any(map(bound.holds, outside))


def test_every_number_of_a_tuple_is_checked():
    bound = each_at_least(2)
    assert bound.holds((2, 3))
    assert not bound.holds((2, 1))
    assert not bound.holds(())


@dataclasses.dataclass(frozen=True)
class Options:
    count: Annotated[int | None, at_least(1)] = None
    share: Annotated[float, "no bound", within("(0, 1]")] = 0.5
    kind: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(count=0), "`x.count` must be at least 1, got 0."),
        (Options(share=2.0), "`x.share` must be in (0, 1], got 2.0."),
    ],
)
def test_a_field_out_of_its_bounds_is_named(options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        check_fields(options, "x.")
    assert str(error.value) == message


def test_none_and_what_is_right_pass():
    check_fields(Options())
    check_fields(Options(count=1, share=1.0, kind="b"))


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "allowed"),
    [
        (Sequence[int], [1, 2], [1, "2"], "a list, each a whole number"),
        (Sequence[str], ("a",), "a", "a list, each text"),
        (Mapping[str, Any], {"a": 1}, {1: 1}, "a table"),
        (Mapping[str, Mapping[str, Any]], {"a": {}}, {"a": 1}, "a table, each a table"),
        (Annotated[int, at_least(1)], 0, True, "a whole number"),  # bounds are no types
    ],
)
def test_types_of_what_files_hold(kind, right, wrong, allowed):
    check_type("x", right, kind)
    with pytest.raises(ValueError, match=f"^`x` must be {allowed}, got "):
        check_type("x", wrong, kind)


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError, match="got 'aaa") as error:
        check_type("x", 1000 * "a", int)
    assert len(str(error.value)) < 300
