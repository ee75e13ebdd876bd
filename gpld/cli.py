"""Arguments, devices, exit codes and one-line errors of all commands."""

import contextlib
import dataclasses
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from .config import Config
from .config.flags import check_args, parse_settings, value_of
from .errors import Interrupted, LeftOut, MachineError, UsageError
from .machine import output
from .machine.files import file_error
from .runs.folder import RunFolder
from .runs.start import allow_task, check_task
from .xla.flags import make_deterministic


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and an exit code.

    2 for a wrong command, 1 for what the machine cannot do, 75 for a run that was asked to
    stop and can be resumed, 130 for an interrupt of anything else; these two are no errors. 1
    without a line where nobody reads the output any more.
    """
    output.prepare()
    form = warnings.formatwarning
    warnings.formatwarning = functools.partial(_form_warning, form)
    try:
        yield
    except (UsageError, MachineError) as error:
        _exit(f"error: {error}", error.exit_code)
    except Interrupted as stop:
        _exit(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        output.to_nowhere(sys.stdout)  # for Python's last flush
        sys.exit(1)
    except OSError as error:  # of a file that nothing more could be said of
        known = file_error(Path(error.filename or "A file"), error, "used")
        _exit(f"error: {known}", known.exit_code)
    except (RuntimeError, AssertionError):
        if (problem := _no_backend()) is None:
            raise
        _exit(f"error: {problem}", MachineError.exit_code)
    finally:
        warnings.formatwarning = form


def parse_config(args: Sequence[str]) -> Config:
    """Read the settings of a run from its flags, or from its folder where it is resumed.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    check_args(Config, args)
    stored = None
    if (resume := value_of(args, "--resume")) is not None:
        for flag, reason in (("--preset", "has settings"), ("--run", "names the folder")):
            if value_of(args, flag) is not None:
                raise UsageError(f"`{flag}` cannot be combined with `--resume`, which {reason}.")
        stored = RunFolder(Path(resume)).config()
    config = parse_settings(args, stored)
    allow_task(value_of(args, "--task"))
    if config.resume is not None:
        config = dataclasses.replace(config, run=config.resume, resume=None)
    # A world model learns from stored steps, and no environment is made.
    if config.task != "list" and (config.offline is None or config.learn == "agent"):
        check_task(config)
    return config


def choose_platform(platform: str, num_devices: int = 1, *, deterministic: bool = False) -> None:
    """Select the kind of device that everything runs on, and how; before JAX starts.

    Args:
        platform: `auto`, `cpu` or `gpu`.
        num_devices: How many are needed. The cores of a CPU can be any number of devices,
            which is of use for trying out what happens with several.
        deterministic: Whether its programs must give the same numbers every time.

    Raises:
        MachineError: If it does not exist.
        UsageError: If it is too late for `deterministic`.
    """
    if deterministic:  # first: looking for a GPU starts JAX, which reads these options once
        make_deterministic()
    if num_devices > 1 and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num_devices)
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif platform == "gpu":  # which is what JAX takes by itself where there is one
        try:
            jax.devices("gpu")
        except RuntimeError:
            raise MachineError(
                "`--platform gpu` found no GPU that JAX can use; install `gpld[cuda12]` or "
                "`gpld[cuda13]` where there is one, or choose auto or cpu."
            ) from None


def _no_backend() -> str | None:
    """Return why JAX has nothing to compute on; None if it has."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # without text where a plugin is missing
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).partition("\n")[0].partition(" (")[0].rstrip(".") or "no such device"
        return f"JAX cannot start with JAX_PLATFORMS={platforms!r}: {reason}; unset it."
    return None


def _form_warning(
    otherwise: Callable[..., str], message: Warning | str, category: type[Warning], *where: Any
) -> str:
    """Format warnings of ours in one line, as messages to users are."""
    if issubclass(category, LeftOut):
        return f"warning: {message}\n"
    return otherwise(message, category, *where)


def _exit(message: str, code: int) -> None:
    output.show(output.one_line(message), stream=sys.stderr)
    sys.exit(code)
