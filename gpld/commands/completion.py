"""The command `completion`: lets a shell complete commands, flags and their values."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

import tyro

from ..cli import one_line_errors
from ..config import Config, field_types
from ..config.flags import parse
from ..envs import task_names
from .benchmark import BenchmarkArgs
from .check_env import CheckEnvArgs
from .diff import DiffArgs
from .evaluate import EvaluateArgs
from .export import ExportArgs
from .gpu_check import GPUCheckArgs
from .import_data import ImportDataArgs
from .pack import PackArgs
from .plot import PlotArgs
from .prediction_study import PredictionStudyArgs
from .replay_update import ReplayUpdateArgs
from .reproduce import ReproduceArgs
from .sensitivity import SensitivityArgs
from .sweep import SweepArgs


@dataclasses.dataclass(frozen=True)
class CompletionArgs:
    """Print what lets a shell complete commands, flags and their values.

    bash: `gpld completion bash > ~/.gpld.bash`, and `source ~/.gpld.bash` in ~/.bashrc.
    zsh: `gpld completion zsh > ~/.gpld.zsh`, and `source ~/.gpld.zsh` after `compinit` in ~/.zshrc.
    fish: `gpld completion fish > ~/.config/fish/completions/gpld.fish`.
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell."""


ARGUMENTS: dict[str, tuple[type, ...]] = {
    "doctor": (),
    "train": (Config,),
    "evaluate": (EvaluateArgs,),
    "plot": (PlotArgs,),
    "export": (ExportArgs,),
    "diff": (DiffArgs,),
    "check-env": (CheckEnvArgs,),
    "import-data": (ImportDataArgs,),
    "sweep": (SweepArgs,),
    "pack": (PackArgs,),
    "sensitivity": (SensitivityArgs,),
    "prediction-study": (PredictionStudyArgs,),
    "reproduce": (ReproduceArgs,),
    "benchmark": (BenchmarkArgs, Config),
    "gpu-check": (GPUCheckArgs,),
    "replay-update": (ReplayUpdateArgs,),
    "completion": (CompletionArgs,),
}
"""What each command takes."""


class Values(NamedTuple):
    """Flags of a command with their values, and the values of what has no flag."""

    flags: dict[str, tuple[str, ...]]
    """No values where any are allowed, such as files."""

    positional: tuple[str, ...]


def main(args: Sequence[str] | None = None) -> None:
    """Print the completion of the shell that the arguments name."""
    with one_line_errors():
        options: CompletionArgs = parse(CompletionArgs, sys.argv[1:] if args is None else args)
        commands = {name: values_of(classes) for name, classes in ARGUMENTS.items()}
        print(_SHELLS[options.shell](commands), end="")


def values_of(classes: Sequence[type]) -> Values:
    """Return what a command takes, from the classes that hold its arguments."""
    values = Values({"--help": ()}, ())
    for cls in classes:
        for name, kind in field_types(cls).items():
            if tyro.conf.Positional in get_args(kind):
                values = values._replace(positional=(*values.positional, *_choices(kind)))
            else:
                *group, last = name.rstrip("_").split(".")
                flag = ".".join([*group, last])
                named = tuple(task_names()) if name == "task" and cls is Config else _choices(kind)
                values.flags[f"--{flag}"] = named
                if kind is bool:
                    values.flags["--" + ".".join([*group, f"no_{last}"])] = ()
    return values


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the values that an annotation names."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    return tuple(value for part in get_args(kind) for value in _choices(part))


def _cases(commands: Mapping[str, Values]) -> list[str]:
    """Return cases for bash and zsh: words by the command and the word before, `-` for flags."""
    words = {}
    for name, own in commands.items():
        words[f"{name} -"] = own.flags
        words |= {f"{name} {flag}": values for flag, values in own.flags.items()}
        words[f"{name} {name}"] = own.positional
    return [f'        "{at}") found="{" ".join(some)}" ;;' for at, some in words.items() if some]


def _bash(commands: Mapping[str, Values]) -> str:
    lines = [
        "_gpld() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}"',
        '    local found=""',
        '    [[ "$word" == -* ]] && before=-',
        '    case "${COMP_WORDS[1]} $before" in',
        *_cases(commands),
        "    esac",
        f'    ((COMP_CWORD == 1)) && found="{" ".join(commands)}"',
        '    COMPREPLY=($(compgen -W "$found" -- "$word"))',
        "}",
        "complete -o default -F _gpld gpld",  # files where nothing was found
    ]
    return "\n".join(lines) + "\n"


def _zsh(commands: Mapping[str, Values]) -> str:
    lines = [
        "_gpld() {",
        '    local word="${words[CURRENT]}" before="${words[CURRENT - 1]}" found=""',
        '    [[ "$word" == -* ]] && before=-',
        '    case "${words[2]} $before" in',
        *_cases(commands),
        "    esac",
        f'    ((CURRENT == 2)) && found="{" ".join(commands)}"',
        '    if [[ -n "$found" ]]; then compadd -- ${=found}; else _files; fi',
        "}",
        "compdef _gpld gpld",
    ]
    return "\n".join(lines) + "\n"


def _fish(commands: Mapping[str, Values]) -> str:
    lines = [f"complete -c gpld -f -n __fish_use_subcommand -a '{' '.join(commands)} --version'"]
    for name, own in commands.items():
        here = f"complete -c gpld -n '__fish_seen_subcommand_from {name}'"
        for flag, values in own.flags.items():
            after = f" -x -a '{' '.join(values)}'" if values else ""
            lines.append(f"{here} -l {flag[2:]}{after}")
        if own.positional:
            lines.append(f"{here} -f -a '{' '.join(own.positional)}'")
    return "\n".join(lines) + "\n"


_SHELLS: dict[str, Callable[[Mapping[str, Values]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
