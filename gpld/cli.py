"""Command lines: arguments in, exit codes and one-line errors out."""

import contextlib
import dataclasses
import difflib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import tyro

from .config import Config
from .envs import WorkerError, task_names
from .errors import MachineError, UsageError
from .presets import PRESETS


def train(args: Sequence[str] | None = None) -> None:
    """`scripts/train.py`: trains an agent."""
    from . import run_folder, training

    with one_line_errors():
        config = parse_config(sys.argv[1:] if args is None else args)
        if config.task == "list":
            print("\n".join(task_names()))
            return
        choose_platform(config.platform)
        cache_compilations()
        path = run_folder.default_path(config) if config.run is None else Path(config.run)
        training.train(config, path)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what a user can cause into one line on stderr and an exit code.

    2 for a wrong command, 1 for what the machine cannot do, 130 for an interrupt.
    """
    try:
        yield
    except (UsageError, MachineError) as error:
        _exit(str(error), error.exit_code)
    except WorkerError as error:
        _exit(str(error), MachineError.exit_code)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


def parse_config(args: Sequence[str]) -> Config:
    """Reads the settings of a run: the preset first, then every flag over it.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    preset = _preset(args)
    _check_flags(args, _flags(Config))
    config = _tyro(Config, args, default=PRESETS[preset])
    _check_task(config.task)
    return config


def choose_platform(platform: str) -> None:
    """Selects the kind of device that everything runs on.

    Raises:
        MachineError: If it does not exist.
    """
    if platform == "auto":
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_platforms", {"gpu": "cuda,rocm"}.get(platform, platform))
    try:
        found = {device.platform for device in jax.devices()}
    except RuntimeError:
        found = set()
    if platform not in found:
        raise MachineError(
            "`--platform gpu` found no GPU that JAX can use; install `gpld[cuda12]` or "
            "`gpld[cuda13]` where there is one, or choose auto or cpu."
        )


def cache_compilations() -> None:
    """Keeps compiled programs on disk, so that the next run starts within seconds.

    `JAX_COMPILATION_CACHE_DIR` chooses another place.
    """
    if jax.config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "gpld" / "jax"))


def _preset(args: Sequence[str]) -> str:
    """The preset named on the command line; unknown ones are left to the parser."""
    preset = Config.preset
    for flag, value in zip(args, [*args[1:], ""], strict=True):
        if flag == "--preset" and value in PRESETS:
            preset = value
        elif flag.startswith("--preset=") and flag.removeprefix("--preset=") in PRESETS:
            preset = flag.removeprefix("--preset=")
    return preset


def _flags(cls: type, prefix: str = "--") -> list[str]:
    """All flags of a settings class, those of nested ones included."""
    flags = []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.default):
            flags += _flags(type(field.default), f"{prefix}{field.name}.")
        else:
            flags.append(prefix + field.name)
    return flags


def _check_flags(args: Sequence[str], known: Sequence[str]) -> None:
    for arg in args:
        flag = arg.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if flag.startswith("--") and flag not in (*known, "--help"):
            close = difflib.get_close_matches(flag, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise UsageError(f"Unknown flag {arg.partition('=')[0]}; {hint}`--help` lists all.")


def _check_task(task: str) -> None:
    names = task_names()
    if task != "list" and task not in names:
        close = difflib.get_close_matches(task, names, n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(
            f"`--task` must be a known task, got {task!r}; {hint}`--task list` shows all."
        )


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
    message = []
    for line in lines:
        if line.startswith(("─", "╰")):
            break
        message.append(line)
    return " ".join(message) or text.strip()


def _exit(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
