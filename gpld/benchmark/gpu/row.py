"""One row of the matrix, compiled in a process of its own."""

import json
import sys
from typing import Any

from ...config.flags import parse_settings
from ...xla import flags as xla_flags
from ...xla.choices import made_for
from .card import compile_for_card, described_mesh
from .programs import described_program
from .rows import Row


def main() -> None:
    """Compile the row in the only argument, and print what is known of it as JSON."""
    name, flags, program, cards = json.loads(sys.argv[1])
    print(json.dumps(compile_row(Row(name, tuple(flags), program, cards))))


def compile_row(row: Row) -> dict[str, Any]:
    """Compile a program for described cards.

    Returns:
        Its flags, launches by kind and loop, bytes and seconds.
    """
    config = parse_settings(row.flags, None)
    if config.deterministic:
        xla_flags.make_deterministic()
    with made_for("gpu"):
        compiled = compile_for_card(
            *described_program(row.program, config, described_mesh(row.cards))
        )
    launches = compiled.launches
    rest = {key: value for key, value in compiled._asdict().items() if key != "launches"}
    return {
        "program": row.program,
        "flags": " ".join(row.flags),
        "launches": launches.total,
        **rest,
        "kinds": dict(launches.kinds.most_common()),
        "loops": [loop._asdict() for loop in launches.loops],
    }
