"""Run the parts of the check before a deadline, and save what each of them found."""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ....errors import MachineError, UsageError
from ....machine.files import read_json, write_json, writing
from ...measure import progress
from .learning import learning
from .memory import memory
from .mjx import mjx
from .parity import parity
from .part import Part
from .process import run_part
from .profile import profile
from .report import table
from .resume import resume
from .update import paper_update, updates
from .versions import versions

# In the order of their worth. A card's own programs take a minute or two to compile.
PARTS = (
    Part("versions", versions, 0.03),
    Part("parity", parity, 0.13),
    Part("update", updates, 0.24),
    Part("loops_not_captured", paper_update, 0.12, ("--xla_gpu_enable_command_buffer=-WHILE",)),
    Part("memory", memory, 0.08),
    Part("learning", learning, 0.14),
    Part("resume", resume, 0.16),
    Part("mjx", mjx, 0.06),
    Part("profile", profile, 0.04),
)

# A part with fewer seconds is not begun.
_LEAST = 5


def check_gpu(
    folder: Path,
    *,
    minutes: float,
    names: Sequence[str] = (),
    small: bool = False,
    parts: Iterable[Part] = PARTS,
) -> dict[str, Any]:
    """Run the parts that are not done yet, and save what each has found when it ends.

    A part may take what is left of the time beyond the shares of those that follow.

    Args:
        folder: Folder for `gpu_check.json`, the same as text in `gpu_check.txt`, and a folder for
            each part.
        minutes: Minutes for all of them.
        names: Parts to run, also those that are done; none runs all that are not.
        small: Whether everything runs on the CPU in small sizes.
        parts: All parts, in their order.

    Returns:
        What the JSON file holds.

    Raises:
        UsageError: If a name is that of no part, or the folder has a check in other sizes.
        MachineError: If the files cannot be written.
    """
    deadline, parts = time.monotonic() + 60 * minutes, list(parts)
    known = [part.name for part in parts]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"`parts` must be of {', '.join(known)}, got {unknown[0]}.")
    report = _stored(folder, small)
    done = {name for name, part in report["parts"].items() if part["status"] == "ok"}
    due = [part for part in parts if part.name in (names or set(known) - done)]
    for number, part in enumerate(due):
        later = sum(part.share for part in due[number + 1 :])
        left = deadline - time.monotonic()
        seconds = min(left, max(left - 60 * minutes * later, 60 * minutes * part.share))
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        progress(f"{part.name}: {max(0, seconds):.0f} s at most")
        if seconds < _LEAST:
            found = {"status": "not begun", "reason": "no time was left", "seconds": 0, "rows": {}}
        else:
            found = run_part(part, folder, small=small, seconds=seconds)
        report["parts"][part.name] = {"started": started, **found}
        report["parts"] = {name: report["parts"][name] for name in known if name in report["parts"]}
        _save(folder, report)
    return report


def _stored(folder: Path, small: bool) -> dict[str, Any]:
    """Return what a folder has of an earlier call."""
    path = folder / "gpu_check.json"
    if not path.exists():
        return {"benchmark": "gpu-check", "small": small, "parts": {}}
    report = read_json(path)
    try:
        statuses = [part["status"] for part in report["parts"].values()]
        if not all(isinstance(status, str) for status in statuses):
            raise TypeError("a status is no text")
        stored = report["small"]
    except (LookupError, TypeError, AttributeError) as error:
        raise MachineError(f"{path} holds no check of a GPU ({error!r}).") from error
    if stored != small:
        sizes = "small" if stored else "full"
        raise UsageError(f"{folder} has a check in {sizes} sizes; choose another `--out`.")
    return report


def _save(folder: Path, report: dict[str, Any]) -> None:
    with writing(folder, "write"):
        write_json(folder / "gpu_check.json", report)
        (folder / "gpu_check.txt").write_text(table(report) + "\n", encoding="utf-8")
