"""The command `gpu-check`: everything worth knowing of a GPU, in the minutes that there is one."""

import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ..cli import one_line_errors
from ..config.checks import POSITIVE, check_fields
from ..config.flags import parse
from ..errors import MachineError
from ..machine.files import check_folder
from ..machine.subprocesses import run_python

_PATIENCE = 120  # seconds that JAX may take to start


@dataclasses.dataclass(frozen=True)
class GPUCheckArgs:
    """Check a GPU in minutes: numbers, times, memory, learning and resuming.

    The parts run in the order of their worth, each in a process of its own, and each is saved as it
    ends. Called again with the same folder, it runs those that failed or had no time.
    """

    out: Path = Path("gpu_check")
    """Folder for gpu_check.json, the same as text in gpu_check.txt, and runs, logs and traces."""

    minutes: Annotated[float, POSITIVE] = 8.0
    """Minutes for all parts."""

    parts: tuple[str, ...] = ()
    """Parts to run, also those that are done: versions, parity, update, loops_not_captured, memory,
    learning, resume, mjx, profile. None runs all that are not done."""

    small: bool = False
    """Runs everything on the CPU in small sizes, to try it out where there is no GPU."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str] | None = None) -> None:
    """Check the GPU; the exit code is 1 if a part failed."""
    with one_line_errors():
        options = parse(GPUCheckArgs, sys.argv[1:] if args is None else args)
        # Imported here: they take a second, and `--help` needs none of it.
        from ..benchmark.gpu.check import check_gpu
        from ..benchmark.gpu.check.report import table

        check_folder(options.out)
        if not options.small:
            _check_there_is_one()
        # So that the process of the part under way is ended, too.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        report = check_gpu(
            options.out, minutes=options.minutes, names=options.parts, small=options.small
        )
        print(table(report))
        if any(part["status"] != "ok" for part in report["parts"].values()):
            sys.exit(1)


def _check_there_is_one() -> None:
    """Check in another process that JAX finds a GPU; this one must leave its memory alone.

    Raises:
        MachineError: If it finds none.
    """
    found = run_python("import gpld, jax; print(jax.default_backend())", timeout=_PATIENCE)
    if found != (True, "gpu"):
        raise MachineError(
            "`gpu-check` found no NVIDIA GPU that JAX can use (`gpld doctor` says why); `--small` "
            "tries everything on the CPU in small sizes."
        )
