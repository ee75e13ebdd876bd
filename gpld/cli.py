"""What all commands share: arguments in, exit codes and one-line errors out."""

import contextlib
import dataclasses
import difflib
import functools
import io
import itertools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import tyro

from .config import Config
from .config.presets import PRESETS
from .envs import WorkerError, choose_backend, env_factory
from .errors import Interrupted, LeftOut, MachineError, UsageError
from .machine import output
from .machine.files import file_error
from .runs.folder import RunFolder
from .xla.flags import make_deterministic


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what a user can cause into one line on stderr and an exit code.

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
    except WorkerError as error:
        _exit(f"error: {error}", MachineError.exit_code)
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
    """Reads the settings of a run: the preset first, then every flag over it.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    _check_empty(args)
    _check_flags(args, _flags(Config))
    resume = _value(args, "--resume")
    if resume is None:
        preset = _value(args, "--preset")
        default = PRESETS.get(preset or Config.preset, Config())  # unknown: left to the parser
    else:
        if _value(args, "--preset") is not None:
            raise UsageError("`--preset` cannot be combined with `--resume`, which has settings.")
        default = RunFolder(Path(resume)).config()
    config = _tyro(Config, args, default=default)
    if config.resume is not None:
        config = dataclasses.replace(config, run=config.resume, resume=None)
    if config.task != "list":
        check_task(config)
    return config


def check_task(config: Config) -> None:
    """Checks that there is the task of some settings here, without opening an environment.

    Raises:
        UsageError: If there is not.
    """
    try:
        env_factory(config.task, **config.env.options)
        choose_backend(config.task, config.env.backend, config.env.observations)
    except ValueError as error:
        raise UsageError(str(error)) from None


def choose_platform(platform: str, num_devices: int = 1, *, deterministic: bool = False) -> None:
    """Selects the kind of device that everything runs on, and how; to be called before JAX starts.

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


def check_least(options: object, **bounds: int) -> None:
    """Checks that options are not below what is allowed.

    Raises:
        ValueError: If one is.
    """
    for name, least in bounds.items():
        value = getattr(options, name)
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def parse(cls: type, args: Sequence[str]) -> Any:
    """Reads the options of a command.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    _check_empty(args)
    _check_flags(args, _flags(cls))
    return _tyro(cls, args)


def parse_known(cls: Callable[..., Any], args: Sequence[str]) -> tuple[Any, list[str]]:
    """Reads the options of a command, and returns the arguments that are none of them.

    Raises:
        UsageError: If a value is not understood or out of range.
    """
    _check_empty(args)
    return _tyro(cls, args, return_unknown_args=True)


def _value(args: Sequence[str], flag: str) -> str | None:
    """The value of a flag that is needed before the others are parsed."""
    value = None
    for arg, following in itertools.zip_longest(args, args[1:]):
        if arg == flag:
            value = following
        elif arg.startswith(f"{flag}="):
            value = arg.removeprefix(f"{flag}=")
    return value


def _flags(cls: type, prefix: str = "--") -> list[str]:
    """All flags of a settings class, those of nested ones included."""
    flags = []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.default):
            flags += _flags(type(field.default), f"{prefix}{field.name}.")
        else:
            name = field.name.rstrip("_")  # `from_` stands for a word of Python's own
            flags.append(prefix + name)
            if field.type is bool:
                flags.append(f"{prefix}no_{name}")
    return flags


def _check_flags(args: Sequence[str], known: Sequence[str]) -> None:
    for arg in args:
        flag = arg.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if flag.startswith("--") and flag not in (*known, "--help"):
            close = difflib.get_close_matches(flag, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise UsageError(f"Unknown flag {arg.partition('=')[0]}; {hint}`--help` lists all.")


def _tyro(cls: Callable[..., Any], args: Sequence[str], **kwargs: Any) -> Any:
    """Parses with tyro, whose framed messages become one line."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(cls, args=list(args), use_underscores=True, **kwargs)
    except SystemExit as error:
        if not error.code:
            raise  # --help
        raise UsageError(_first_paragraph(stderr.getvalue())) from None


def _first_paragraph(text: str) -> str:
    """The message of a framed error, without frame, title and help text."""
    lines = [line.strip("│ ") for line in text.splitlines()[1:]]
    is_rule = lambda line: set(line) <= set("─╰╯-")  # noqa: E731
    # Where the output is not UTF-8, the title is underlined instead of framed.
    lines = itertools.dropwhile(is_rule, lines)
    message = itertools.takewhile(lambda line: not is_rule(line), lines)
    joined = " ".join(message) or text.strip()
    return re.sub(r"^Error parsing (?!--)[\w.]+: ", "", joined).removeprefix("Error parsing ")


def _check_empty(args: Sequence[str]) -> None:
    """Checks that no argument is empty, which as a path would be the working directory."""
    for before, arg in itertools.pairwise(["", *args]):
        flag, equals, value = arg.partition("=")
        if not arg or (flag.startswith("--") and equals and not value):
            name = flag or (before if before.startswith("--") else "An argument")
            raise UsageError(f"{name} must not be empty.")


def _no_backend() -> str | None:
    """Why JAX has nothing to compute on; None if it has."""
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
    """Warnings of ours in one line, as messages to users are."""
    if issubclass(category, LeftOut):
        return f"warning: {message}\n"
    return otherwise(message, category, *where)


def _exit(message: str, code: int) -> None:
    # Names of files may have line breaks, and what terminals take for commands.
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    output.show(text, stream=sys.stderr)
    sys.exit(code)
