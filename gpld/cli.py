"""Command lines: arguments in, exit codes and one-line errors out."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from .config import Config
from .envs import WorkerError, env_factory, task_names
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


@dataclasses.dataclass(frozen=True)
class EvaluateArgs:
    """Evaluates the agent of a run, with sampled actions as in training."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""

    episodes: int = 20
    """Episodes to run (the paper's tables use 20)."""

    num_envs: int = 4
    """Environments that run in parallel, at most one for each episode."""

    seed: int = 0
    """Seeds environments and actions."""

    def __post_init__(self):
        _check_least(self, episodes=1, num_envs=1, seed=0)


def evaluate(args: Sequence[str] | None = None) -> None:
    """`scripts/evaluate.py`: evaluates the agent of a run."""
    from . import inference
    from .envs import make_vector_env
    from .evaluation import run_episodes
    from .seeding import derive_seed

    with one_line_errors():
        options: EvaluateArgs = parse(EvaluateArgs, sys.argv[1:] if args is None else args)
        cache_compilations()
        player = inference.load(options.run)
        config = player.config
        seed = derive_seed(options.seed, "evaluate checkpoint")
        with make_vector_env(
            config.task,
            num_envs=min(options.episodes, options.num_envs),
            seed=seed,
            action_repeat=config.env.action_repeat,
        ) as envs:
            key = jax.random.key(seed)
            episodes = run_episodes(player.state.model, envs, options.episodes, key=key)
        scores = np.array([episode.score for episode in episodes])
        print("\n".join(f"episode {i + 1:3d}: return {s:.3f}" for i, s in enumerate(scores)))
        print(
            f"{config.task} after {int(player.state.update):,} updates: mean {scores.mean():.3f}, "
            f"standard deviation {scores.std():.3f} over {len(scores)} episodes"
        )


@dataclasses.dataclass(frozen=True)
class SensitivityArgs:
    """Measures how much a run's prior and posterior change with their inputs.

    At every checkpoint; prints means over states and perturbations and writes
    `sensitivity.json` and `sensitivity.png` into the run folder (paper, appendix F).
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""

    states: int = 1000
    """States per checkpoint, from whole episodes with sampled actions."""

    num_envs: int = 4
    """Environments that run in parallel, at most one for each state."""

    seed: int = 0
    """Seeds environments, actions and perturbations."""

    def __post_init__(self):
        _check_least(self, states=1, num_envs=1, seed=0)


def sensitivity(args: Sequence[str] | None = None) -> None:
    """`scripts/sensitivity.py`: measures how sensitive the world model of a run is."""
    from .analysis import sensitivity_figure
    from .analysis.sensitivity import describe, measure_sensitivity, save
    from .run_folder import RunFolder

    with one_line_errors():
        options: SensitivityArgs = parse(SensitivityArgs, sys.argv[1:] if args is None else args)
        cache_compilations()
        folder = RunFolder(options.run)
        settings = {
            "num_states": options.states,
            "num_envs": options.num_envs,
            "seed": options.seed,
        }
        measured = []
        for checkpoint in measure_sensitivity(folder, **settings):
            print(describe(checkpoint), flush=True)
            measured.append(checkpoint)
        save(folder, measured, **settings)
        sensitivity_figure(folder, measured)
        print(f"wrote sensitivity.json and sensitivity.png in {folder.path}")


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
    if config.task != "list":
        try:
            env_factory(config.task, action_repeat=config.env.action_repeat)
        except ValueError as error:
            raise UsageError(str(error)) from None
    return config


def choose_platform(platform: str) -> None:
    """Selects the kind of device that everything runs on.

    Raises:
        MachineError: If it does not exist.
    """
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


def cache_compilations() -> None:
    """Keeps compiled programs on disk, so that the next run starts within seconds.

    `JAX_COMPILATION_CACHE_DIR` chooses another place.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "gpld" / "jax"))


def _check_least(options: object, **bounds: int) -> None:
    for name, least in bounds.items():
        value = getattr(options, name)
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def parse(cls: type, args: Sequence[str]) -> Any:
    """Reads the options of a command.

    Raises:
        UsageError: If a flag or value is not understood or out of range.
    """
    _check_flags(args, _flags(cls))
    return _tyro(cls, args)


def parse_known(cls: Callable[..., Any], args: Sequence[str]) -> tuple[Any, list[str]]:
    """Reads the options of a command, and returns the arguments that are none of them.

    Raises:
        UsageError: If a value is not understood or out of range.
    """
    return _tyro(cls, args, return_unknown_args=True)


def _preset(args: Sequence[str]) -> str:
    """The preset named on the command line; unknown ones are left to the parser."""
    preset = Config.preset
    for flag, value in itertools.pairwise([*args, ""]):
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


def _exit(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
