"""Launches and decisions of the host, once XLA has put parts of a program into CUDA graphs.

XLA does so last of all, with the list of thunks that it executes, which it writes into its dump
alone. A command buffer, as it calls such a graph, is one launch by the host, whatever is in it:
the card decides by itself how often loops in it go round.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .launches import Loop

DUMP_FLAGS = {"xla_dump_hlo_as_text": True}
"""Options of a compilation, beside `xla_dump_to`, that write the list."""

_FILE = "*.thunk_sequence_after_thunk_passes.txt"
_THUNK = re.compile(r"( *)\d+: (k\w+)")


class HostWork(NamedTuple):
    """Launches and decisions of the host in one call of a program."""

    started: int
    """Launches, CUDA graphs each as one."""

    reads: int
    """Loops and branches that it decides about by a number that it reads of the card, as often as
    they are entered."""


def read_thunks(folder: Path) -> str | None:
    """Read the list of thunks from a dump; None if this version of XLA writes none."""
    files = sorted(folder.glob(_FILE), key=lambda path: path.stat().st_size)
    return files[-1].read_text() if files else None


def count_host_work(thunks: str, loops: Sequence[Loop]) -> HostWork:
    """Count what the host does in one call of a program.

    Args:
        thunks: XLA's list, in which what a thunk contains is indented.
        loops: Loops of the program in order. Those of unknown length count one round.

    Raises:
        ValueError: If the list has other loops than the program.
    """
    remaining = iter(loops)
    started, reads, times, captured = 0, 0, 1, False
    # Whether the trips of the last loop are known, and whether a line is in its condition.
    known = skipped = False
    # Indentation of the loops, buffers and fusions that a line is in, and what held outside.
    outside: list[tuple[int, int, bool]] = []
    for line in thunks.splitlines():
        if line.strip() in ("condition:", "body:"):  # no condition is asked where trips are known
            skipped = known and line.strip() == "condition:"
        if skipped or (match := _THUNK.match(line)) is None:
            continue
        indentation, kind = len(match[1]), match[2]
        while outside and indentation <= outside[-1][0]:
            _, times, captured = outside.pop()
        if kind == "kWhile":
            if (loop := next(remaining, None)) is None:
                raise ValueError("`thunks` has more loops than `loops`.")
            outside.append((indentation, times, captured))
            known = loop.trips is not None
            if not (captured or known):
                reads += times
            times *= loop.trips or 1
            continue
        if kind == "kConditional" and not captured:
            reads += times
        if kind in ("kConditional", "kSequential"):
            continue
        started += 0 if captured else times
        # What follows further in is started together with it.
        outside.append((indentation, times, captured))
        captured = True
    if next(remaining, None) is not None:
        raise ValueError("`thunks` has fewer loops than `loops`.")
    return HostWork(started, reads)
