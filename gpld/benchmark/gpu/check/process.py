"""Run a part in a process of its own, which may crash, hang or print anything."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from ....machine.signals import deferred
from ....machine.subprocesses import failure, python_command, python_environment
from .part import Part


def run_part(part: Part, folder: Path, *, small: bool, seconds: float) -> dict[str, Any]:
    """Run a part for some seconds at most, and end whatever it has started.

    Args:
        part: The part.
        folder: Folder of the check, for its rows, what it prints, runs and compiled programs.
        small: Whether it runs on the CPU in small sizes.
        seconds: Seconds after which it is killed.

    Returns:
        Its status, `ok`, `failed` or `out of time`; the reason, None if it is ok; the seconds that
        it took; and the rows that it has saved.
    """
    own = folder / part.name
    rows, log = own / "rows.jsonl", own / "log"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    rows.touch()
    module, name = part.measure.__module__, part.measure.__name__
    code = (
        "import gpld; from gpld.benchmark.gpu.check.worker import main; "
        f"from {module} import {name} as measure; main(measure)"
    )
    began, status, reason = time.monotonic(), "ok", None
    task = {"deadline": began + seconds, "folder": str(own), "rows": str(rows), "small": small}
    given = os.environ.get
    environment = {
        "JAX_PLATFORMS": "cpu" if small else "cuda,cpu",
        # Beside the results, so that the first check compiles all, and its parts share programs.
        "JAX_COMPILATION_CACHE_DIR": given("JAX_COMPILATION_CACHE_DIR", str(folder / "programs")),
        "XLA_FLAGS": " ".join([*given("XLA_FLAGS", "").split(), *part.xla_flags]),
    }
    process = None
    try:
        with log.open("w") as file, deferred():
            process = subprocess.Popen(
                [*python_command(code), json.dumps(task)],
                env=python_environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if process.wait(seconds) != 0:
            text = log.read_text(encoding="utf-8", errors="replace")
            status, reason = "failed", failure(process.returncode, text)
    except subprocess.TimeoutExpired:
        status, reason = "out of time", f"had {seconds:.0f} s"
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found, strange = _read(rows)
    if status == "ok" and (strange or not found):
        status, reason = "failed", f"left {len(found)} rows and {strange} lines that are none"
    reason = reason and " ".join(reason.split())[:300]
    seconds = round(time.monotonic() - began, 1)
    return {"status": status, "reason": reason, "seconds": seconds, "rows": found}


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return rows by name, and the number of lines that are none."""
    rows: dict[str, dict[str, Any]] = {}
    strange = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            name, figures = json.loads(line)
            rows.setdefault(str(name), {}).update(figures)
        except (TypeError, ValueError):
            strange += 1
    return rows, strange
