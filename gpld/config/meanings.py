"""Meanings of settings: the docstrings below their fields."""

import ast
import dataclasses
import inspect
import itertools

from .config import Config


def meanings(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """Return what every setting means, in one line, by its dotted name."""
    found = {prefix + name: " ".join(text.split()) for name, text in field_docs(cls).items()}
    for field in dataclasses.fields(cls):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            found.pop(prefix + field.name, None)  # of a group
            found |= meanings(field.type, f"{prefix}{field.name}.")
    return found


def field_docs(cls: type) -> dict[str, str]:
    """Return the docstring below every field of a dataclass, by the name of the field."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in itertools.pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(meaning))):
                found[name] = inspect.cleandoc(meaning)
    return found
