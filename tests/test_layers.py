"""The layout of the package: imports run one way, and every folder stands where it belongs."""

import ast
import re
from pathlib import Path

import pytest

import gpld

PACKAGE = Path(__file__).parents[1] / "gpld"

# From what knows nothing of the others to what knows them all. A folder imports from those
# before it alone, never from one beside it or after it. CONTRIBUTING.md draws the same.
LAYERS = (
    ("errors", "seeding", "suite", "units"),
    ("config", "machine"),
    ("replay", "xla"),
    ("models",),
    ("envs", "losses"),
    ("optim",),
    ("agent",),
    ("runs",),
    ("cli", "datasets", "parallel"),
    ("checkpoints",),
    ("evaluation",),
    ("analysis",),
    ("training",),
    ("benchmark",),
    ("sweep",),
    ("commands",),
    ("__main__",),
)
# And these know nothing of each other, whatever the order.
APART = (
    ({"models", "losses"}, {"xla", "replay", "envs", "machine"}),
    ({"envs", "replay"}, {"models"}),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Code in strings imports; a string that is the name of a module stands for it. Settings look
# like names too, `gpld.lambda0`.
IN_STRINGS = re.compile(r"(?:from|import) (gpld(?:\.\w+)+)|^(gpld(?:\.\w+)+)$", re.MULTILINE)

# A sweep starts commands in processes of their own, as a user would.
STARTED = {("gpld.sweep.job_process", "gpld.commands.job")}


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """Modules that a file imports, wherever in it, or names in a string that is run or imported."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else base
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for match in IN_STRINGS.finditer(node.value):
                if match[1] or match[2] in MODULES:
                    yield node.lineno, match[1] or match[2]


IMPORTS = [
    (name, line, target)
    for name, path in MODULES.items()
    if name != "gpld"  # imports the public names when they are first used
    for line, target in imported(path)
    if target.startswith("gpld.") and (name, target) not in STARTED
]


def test_every_name_at_the_top_has_its_place():
    top = {name.split(".")[1] for name in MODULES if "." in name}
    assert top == set(LEVEL)
    assert len(top) + 1 <= 26  # and __init__.py


def test_imports_run_one_way():
    wrong = []
    for name, line, target in IMPORTS:
        here, there = name.split(".")[1], target.split(".")[1]
        if here != there and not LEVEL.get(there, len(LAYERS)) < LEVEL[here]:
            wrong.append(f"{MODULES[name]}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_networks_losses_environments_and_replay_know_nothing_of_each_other():
    wrong = [
        f"{MODULES[name]}:{line} imports {target}"
        for name, line, target in IMPORTS
        for here, there in APART
        if name.split(".")[1] in here and target.split(".")[1] in there
    ]
    assert not wrong, "\n".join(wrong)


def test_public_names_are_there():
    for name in gpld.__all__:
        assert getattr(gpld, name) is not None


def test_modules_that_strings_name_are_there():
    missing = [
        f"{MODULES[name]}:{line} names {target}"
        for name, line, target in IMPORTS
        if target not in MODULES and target.rpartition(".")[0] not in MODULES
    ]
    assert not missing, "\n".join(missing)


def test_there_is_no_circle():
    graph = {name: set() for name in MODULES}
    for name, _, target in IMPORTS:
        if target in MODULES and target != name:
            graph[name].add(target)
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for target in sorted(graph[name]):
                visit(target)
            path.pop()
            done.add(name)

    for name in graph:
        visit(name)
