"""The process of one part, which writes every row as it comes."""

import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .part import Row, Task
from .sizes import FULL, SMALL


def main(measure: Callable[[Task], Iterator[Row]]) -> None:
    """Run a part with the task in the only argument."""
    given = json.loads(sys.argv[1])
    folder = Path(given["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    task = Task(SMALL if given["small"] else FULL, folder, given["deadline"])
    code = 1
    try:
        with open(given["rows"], "a", encoding="utf-8") as file:
            for name, figures in measure(task):
                file.write(json.dumps([name, _finite(figures)]) + "\n")
                file.flush()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # programs that are still being compiled would be waited for


def _finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Write numbers that JSON does not know as text."""
    return {
        name: repr(x) if isinstance(x, float) and not math.isfinite(x) else x
        for name, x in figures.items()
    }
