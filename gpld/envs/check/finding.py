"""Findings of the rules of the contract."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """Finding of one rule. A hint is about what training copes with."""

    verdict: Literal["ok", "hint", "broken"]
    text: str


def ok(text: str) -> Finding:
    """Say that a rule holds, and what was seen."""
    return Finding("ok", text)


def hint(text: str) -> Finding:
    """Say what could be better, and how to mend it."""
    return Finding("hint", text)


def broken(text: str) -> Finding:
    """Say what is wrong, and how to mend it."""
    return Finding("broken", text)
