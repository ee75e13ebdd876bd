"""`scripts/doctor.py`: checks an installation."""

import sys
from collections.abc import Sequence

from ..doctor import examine

_HELP = """Checks an installation, one line for each thing, and says what to do about it.

ok: as it should be. warning: training works without. failed: nothing works before this is
repaired; the exit code is 1 then."""


def main(args: Sequence[str] | None = None) -> None:
    """`scripts/doctor.py`: checks an installation."""
    args = sys.argv[1:] if args is None else args
    if args:  # by hand, because the parser of the other commands may be what is missing
        if args[0] in ("-h", "--help"):
            print(_HELP)
            sys.exit(0)
        print(f"error: Unknown argument {args[0]}; there are none.", file=sys.stderr)
        sys.exit(2)
    failed = False
    for check in examine():
        print(check, flush=True)
        failed |= check.status == "failed"
    sys.exit(failed)
