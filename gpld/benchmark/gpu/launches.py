"""Launches of a compiled GPU program, counted in the text of its optimised HLO.

An update of a small world model is thousands of small kernels, and the time between two of them,
a few microseconds, decides how long it takes. How often a loop goes round is written into the
compiled program wherever XLA knows it.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# They name, view or order arrays, and nothing runs for them.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "opt-barrier",
    "add-dependency",
    "partition-id",
    "replica-id",
}
_COMPUTATION = re.compile(r"(ENTRY )?%?([^\s(]+) .*\{$|(ENTRY )?%?([^\s(]+)\(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([^\s=]+) = (.*)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="([^"]+)"')


class Loop(NamedTuple):
    """A loop of a program."""

    path: str
    """Names of the loops around it and its own, with slashes."""

    trips: int | None
    """How often it goes round; None if XLA does not know: the host then reads a number of the
    device to decide it, unless the loop is in a CUDA graph."""

    entered: int
    """How often the program enters it."""

    launches: int
    """Launches of one round, without those of the loops inside."""


@dataclasses.dataclass
class Launches:
    """Launches of one call of a program; rounds of unknown number count once."""

    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    """Launches by kind: fusions, products, copies, library calls."""

    loops: list[Loop] = dataclasses.field(default_factory=list)
    """Loops in the order of the program."""

    @property
    def total(self) -> int:
        """All launches, those in CUDA graphs each by itself."""
        return sum(self.kinds.values())


class _Instruction(NamedTuple):
    name: str
    opcode: str
    text: str
    """The opcode with operands and attributes."""


def count_launches(text: str) -> Launches:
    """Count the launches of a program.

    Args:
        text: Optimised HLO, as `compiled.as_text()` returns it.

    Raises:
        ValueError: If the text has no entry computation.
    """
    computations, entry = _parse(text)
    if entry is None:
        raise ValueError("`text` must be a module of HLO with an entry computation.")
    walk = _Walk(computations, Launches())
    walk.visit(entry, _Place(times=1, path=""))
    return walk.found


def _parse(text: str) -> tuple[Mapping[str, list[_Instruction]], str | None]:
    """Split a module into computations, by name; and name the one that is called."""
    computations: dict[str, list[_Instruction]] = {}
    current, entry = None, None
    for line in text.splitlines():
        if line.startswith("}"):
            current = None
        elif current is None and not line.startswith((" ", "HloModule")):
            if (match := _COMPUTATION.match(line)) is not None:
                name = match[2] or match[4]
                current = computations.setdefault(name, [])
                if match[1] or match[3]:
                    entry = name
        elif current is not None and (match := _INSTRUCTION.match(line)) is not None:
            operation = _after_shape(match[2])
            current.append(_Instruction(match[1], operation.split("(", 1)[0], operation))
    return computations, entry


def _after_shape(text: str) -> str:
    """Cut the shape from an instruction: one word, or a tuple in parentheses."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == " " and depth == 0:
            return text[i + 1 :]
    return text


class _Place(NamedTuple):
    """Place of a computation in a program."""

    times: int
    path: str
    """Names of the loops around it."""


class _Walk(NamedTuple):
    """A walk through the computations of a program, which adds to what was found."""

    computations: Mapping[str, list[_Instruction]]
    found: Launches

    def visit(self, name: str, place: _Place) -> int:
        """Count a computation; return its launches, without those of the loops inside."""
        own, found, times = 0, self.found, place.times
        for instruction in self.computations[name]:
            opcode, operation = instruction.opcode, instruction.text
            if opcode == "while":
                self._visit_loop(instruction, place)
            elif opcode in ("call", "conditional"):
                # Of the branches of a conditional one runs; all are counted, as an upper bound.
                own += sum(self.visit(called, place) for called in _called(operation))
            elif opcode not in _FREE and not opcode.endswith("-done"):
                found.kinds[_kind(opcode, operation)] += times
                own += 1
        return own

    def _visit_loop(self, loop: _Instruction, place: _Place) -> None:
        match, index = _TRIPS.search(loop.text), len(self.found.loops)
        trips = None if match is None else int(match[1])
        inside = place._replace(
            times=place.times * (1 if trips is None else trips),
            path=f"{place.path}/{loop.name}".lstrip("/"),
        )
        launches = self.visit(_attribute(loop.text, "body"), inside)
        if trips is None:
            launches += self.visit(_attribute(loop.text, "condition"), inside)
        self.found.loops.insert(index, Loop(inside.path, trips, place.times, launches))


def _called(operation: str) -> Iterator[str]:
    for names in re.findall(
        r"(?:to_apply|branch_computations)=\{?([^,}]+(?:, %[^,}]+)*)", operation
    ):
        yield from (name.strip().lstrip("%") for name in names.split(","))
    for key in ("true_computation", "false_computation"):
        if key in operation:
            yield _attribute(operation, key)


def _attribute(operation: str, key: str) -> str:
    match = re.search(rf"\b{key}=%?([^\s,}}]+)", operation)
    assert match is not None, operation
    return match[1]


def _kind(opcode: str, operation: str) -> str:
    """Name what is launched: an opcode, that of a library's call, or a fusion by its kind."""
    if opcode == "custom-call" and (match := _TARGET.search(operation)) is not None:
        return match[1]
    if opcode == "fusion":
        # The backend's kind, such as a Triton kernel's, says more.
        match = re.search(r'"kind":"(\w+)"', operation) or re.search(r"kind=(\w+)", operation)
        return "fusion" if match is None else f"fusion {match[1]}"
    return opcode
