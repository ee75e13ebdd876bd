"""Checks of whether names of environments of one's own lead somewhere, and similar names.

Nothing of the user's is run for it. Imported are the package of environments that a name begins
with, and Gymnasium, which is small, for suggestions in place of a name that is unknown.
"""

import ast
import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..suite import SHORT_NAMES, TASKS
from . import probe

GYMNASIUM = "gymnasium"
"""Source of environments that Gymnasium has registered."""

FUNCTIONAL = {
    "gymnax": "gymnax_env",
    "playground": "playground_env",
}
"""Sources of environments in JAX, and their adapters. Each is an extra of the package."""


def check_there(task: str, registered: Collection[str] = ()) -> None:
    """Check that the name of an environment of one's own leads somewhere.

    Args:
        task: The name.
        registered: Names that this process has registered, for suggestions.

    Raises:
        UsageError: If a package is missing that the name needs.
        ValueError: If there is no such environment.
    """
    source, _, name = task.partition(":")
    if source in FUNCTIONAL:
        _check_known(source, name, adapter(source).known(), registered)
        return
    source, _, function = task.rpartition(":")
    path = task if task.endswith(".py") else source
    if path.endswith(".py") and not os.path.isfile(path):
        raise ValueError(f"`task` must name a file that is there, but {path} is not.")
    if path.endswith(".py") and (path == task or not function):
        known = " or ".join(f"{path}:{name}" for name in _functions(path)[:3])
        raise ValueError(
            f"`task` must name a function or class in the file, such as "
            f"{known or f'{path}:FUNCTION'}, got {task!r:.200}."
        )
    if not source or not function:
        raise ValueError(f"`task` must name a module and a function in it, got {task!r:.200}.")
    if source.endswith(".py"):
        return
    if source == GYMNASIUM:
        import gymnasium

        _check_known(source, function, gymnasium.registry, registered)
        return
    if source == "gym":
        raise ValueError(
            f"`task` must be an environment of Gymnasium, not of the old gym, got {task!r:.200}"
            f"{or_similar(function, registered) or '.'}"
        )
    if "/" in source:
        raise ValueError(f"`task` must name a file that ends in .py, got {task!r:.200}.")
    if source.startswith(f"{GYMNASIUM}:"):
        source = source.partition(":")[2]
    find_own_modules()
    package = source.partition(".")[0]
    if package == "__main__":
        raise ValueError(
            f"`task` must name a module that can be imported, got {task!r:.200}: `__main__` is "
            "the program that was running; name its file, as FILE.py:FUNCTION, or use "
            "`gpld.train(..., env=...)` in it."
        )
    try:
        found = importlib.util.find_spec(package) is not None
    except ValueError:  # names with dots at the beginning
        found = False
    if not found:
        close = next(iter(_close(package, [GYMNASIUM, *FUNCTIONAL], cutoff=0.7)), None)
        hint = "" if close in FUNCTIONAL else or_similar(function, registered)
        if close is not None and not hint:
            hint = f"; did you mean {close}:{function}?"
        raise ValueError(
            f"`task` must name a module that can be imported, got {task!r:.200}, but there is no "
            f"{package!r}{hint or '.'}"
        )


def or_similar(name: str, registered: Collection[str] = ()) -> str:
    """Ask, as the end of a message, whether something similar is meant; empty if there is nothing.

    Args:
        name: A name that is unknown, without a source.
        registered: Names that this process has registered.
    """
    import gymnasium

    if name in gymnasium.registry:
        return _ask([f"{GYMNASIUM}:{name}"])
    names = {known: known for known in (*TASKS, *SHORT_NAMES, *probe.TASKS, *registered)}
    newest: dict[str, tuple[int, str]] = {}
    for known, spec in gymnasium.registry.items():
        if spec.namespace is None or "/" in name:
            found = (spec.version or 0, known)
            newest[_plain(known)] = max(newest.get(_plain(known), found), found)
    names |= {known: f"{GYMNASIUM}:{known}" for _, known in newest.values()}
    file = f"{name}.py"  # whose module was named, without what makes the environment
    if functions := _functions(file):
        return _ask([f"{file}:{function}" for function in functions[:3]])
    return _ask([names[known] for known in ([name] if name in names else _close(name, names))])


def adapter(source: str) -> Any:
    """Import the adapter of a source of environments in JAX."""
    try:
        return importlib.import_module(f".adapters.{FUNCTIONAL[source]}", __package__)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Tasks of {source} need the package {error.name}: `pip install 'gpld[{source}]'`."
        ) from error


def find_own_modules() -> None:
    """Let modules in the working directory be imported, behind all others."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)


def _check_known(
    source: str, name: str, known: Collection[str], registered: Collection[str]
) -> None:
    """Check that a source has an environment of this name."""
    if name in known:
        return
    hint = ""
    if source in FUNCTIONAL:
        hint = _ask([f"{source}:{other}" for other in _close(name, known)])
        hint = hint or f"; there are {', '.join(sorted(known))}."
    hint = hint or or_similar(name, registered)
    raise ValueError(
        f"`task` must be one that {source.capitalize()} knows, got '{source}:{name}'"
        f"{hint or '; one that a module registers is MODULE:ID.'}"
    )


def _ask(names: list[str]) -> str:
    """Ask whether one of some names is meant; empty if there are none."""
    *first, last = [*names] or [""]
    return f"; did you mean {', '.join(first)}{' or ' * bool(first)}{last}?" if names else ""


def _close(name: str, known: Iterable[str], *, cutoff: float = 0.65) -> list[str]:
    """Return the names that resemble one, the most similar first, whatever case and version."""
    plain = {_plain(other): other for other in known}
    return [plain[x] for x in difflib.get_close_matches(_plain(name), plain, cutoff=cutoff)]


def _plain(name: str) -> str:
    return re.sub(r"-v\d+$", "", name.lower())


def _functions(path: str) -> list[str]:
    """Return the names of functions and classes in a file, which is read and not run."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [node.name for node in tree.body if isinstance(node, kinds)]
    return [name for name in names if not name.startswith("_")]
