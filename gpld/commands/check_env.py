"""The command `check-env`: steps an environment as training would, and checks what comes."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from ..cli import one_line_errors
from ..config import Config, EnvConfig
from ..config.checks import at_least, check_fields
from ..config.flags import parse
from ..envs.check import check_env
from ..errors import MachineError, UsageError
from ..runs.start import allow_task, check_task


@dataclasses.dataclass(frozen=True)
class CheckEnvArgs:
    """Step an environment as training would; say of each rule whether it holds, or what to do."""

    task: tyro.conf.Positional[str]
    """Task, as for `train --task`."""

    env: EnvConfig = EnvConfig()
    """Options of the environment, as for `train`."""

    seed: Annotated[int, at_least(0)] = 0
    """Seed of the environments that are made."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str] | None = None) -> None:
    """Check the environment that the arguments name; exit with 1 if a rule is broken."""
    with one_line_errors():
        options: CheckEnvArgs = parse(CheckEnvArgs, sys.argv[1:] if args is None else args)
        try:
            config = Config(task=options.task, env=options.env)
        except ValueError as error:
            raise UsageError(str(error)) from None
        allow_task(config.task)
        check_task(config)
        wrong = []
        for name, (verdict, text) in check_env(
            config.task, seed=options.seed, **config.env_options
        ):
            print(f"{verdict:8}{name:14}{' '.join(text.split())}", flush=True)
            if verdict == "broken":
                wrong.append(name)
        if wrong:
            raise MachineError(f"{config.task} breaks the contract: {', '.join(wrong)}.")
