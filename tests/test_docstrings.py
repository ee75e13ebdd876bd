"""The first lines of docstrings stand alone."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "gpld"

# Beginnings of fragments, which lean on something that the reader has not seen.
FRAGMENT = re.compile(
    r"(What|Where|How|Of|That|Whether|Which|When|Who|Those|They|It|Takes note|Tells|Says) "
)


def test_no_docstring_begins_with_a_fragment():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if FRAGMENT.match(first):
                    found.append(f"{path}:{getattr(node, 'lineno', 1)}: {first}")
    assert not found, "\n".join(found)
