"""Flags of the command line, read into settings by tyro; mistakes end in one line."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from ..errors import UsageError
from .config import Config
from .presets import PRESETS


def parse_settings(args: Sequence[str], stored: Config | None = None) -> Config:
    """Read the settings of a run: the preset or `stored` first, then every flag over it.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    check_args(Config, args)
    # An unknown preset is left to the parser.
    preset = PRESETS.get(value_of(args, "--preset") or Config.preset, Config())
    return _tyro(Config, args, default=stored or preset)


def parse(cls: type, args: Sequence[str]) -> Any:
    """Read the options of a command.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    check_args(cls, args)
    return _tyro(cls, args)


def parse_known(cls: Callable[..., Any], args: Sequence[str]) -> tuple[Any, list[str]]:
    """Read the options of a command, and return the arguments that are none of them.

    Raises:
        UsageError: If a value is not understood or out of range.
    """
    _check_empty(args)
    return _tyro(cls, args, return_unknown_args=True)


def value_of(args: Sequence[str], flag: str) -> str | None:
    """Return the value of a flag that is needed before the others are parsed."""
    value = None
    for arg, following in itertools.zip_longest(args, args[1:]):
        if arg == flag:
            value = following
        elif arg.startswith(f"{flag}="):
            value = arg.removeprefix(f"{flag}=")
    return value


def _flags(cls: type, prefix: str = "--") -> list[str]:
    """Return all flags of a settings class, those of nested ones included."""
    flags = []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.default):
            flags += _flags(type(field.default), f"{prefix}{field.name}.")
        else:
            name = field.name.rstrip("_")  # `from_` stands for a word of Python's own
            flags.append(prefix + name)
            if field.type is bool:
                flags.append(f"{prefix}no_{name}")
    return flags


def check_args(cls: type, args: Sequence[str]) -> None:
    """Check that no argument is empty, and that all flags are those of a settings class.

    Raises:
        UsageError: If one is not.
    """
    _check_empty(args)
    known = _flags(cls)
    for arg in args:
        flag = arg.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if arg.startswith("--") and flag not in (*known, "--help"):
            close = difflib.get_close_matches(flag, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise UsageError(f"Unknown flag {arg.partition('=')[0]}; {hint}`--help` lists all.")


def _tyro(cls: Callable[..., Any], args: Sequence[str], **kwargs: Any) -> Any:
    """Parse with tyro, whose framed messages become one line."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(cls, args=list(args), use_underscores=True, **kwargs)
    except SystemExit as error:
        if not error.code:
            raise  # --help
        raise UsageError(_first_paragraph(stderr.getvalue())) from None


def _first_paragraph(text: str) -> str:
    """Return the message of a framed error, without frame, title and help text."""
    lines = [line.strip("│ ") for line in text.splitlines()[1:]]
    is_rule = lambda line: set(line) <= set("─╰╯-")  # noqa: E731
    # Where the output is not UTF-8, the title is underlined instead of framed.
    lines = itertools.dropwhile(is_rule, lines)
    message = itertools.takewhile(lambda line: not is_rule(line), lines)
    joined = " ".join(message) or text.strip()
    return re.sub(r"^Error parsing (?!--)[\w.]+: ", "", joined).removeprefix("Error parsing ")


def _check_empty(args: Sequence[str]) -> None:
    """Check that no argument is empty, which as a path would be the working directory."""
    for before, arg in itertools.pairwise(["", *args]):
        flag, equals, value = arg.partition("=")
        if not arg or (flag.startswith("--") and equals and not value):
            name = flag or (before if before.startswith("--") else "An argument")
            raise UsageError(f"{name} must not be empty.")
