"""What a run learns about: environments, or what another run has stored."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..config import Config
from ..envs import EnvSpec, VectorEnv, make_functional_env, make_vector_env
from ..envs.functional.auto_reset import AutoReset
from ..machine.provenance import num_cores
from ..replay import AbstractReplay
from ..seeding import derive_seed
from .offline import Source, find_source, take_over
from .seed_run import Run

MakeReplay = Callable[[Mapping[str, Any] | None], AbstractReplay]
"""Makes an empty replay, for one that was saved with this manifest or for a new one."""


class Supply(NamedTuple):
    """Where the experience of a run comes from."""

    spec: EnvSpec
    envs: VectorEnv | None = None
    source: Source | None = None
    """The run that has stored it, where there are no environments."""

    functional: AutoReset | None = None
    """Environments that the program of the device loop holds."""

    @property
    def manifest(self) -> dict[str, Any] | None:
        """Of the replay that is taken over, if one is."""
        return None if self.source is None else self.source.manifest

    def replay(self, make_replay: MakeReplay) -> AbstractReplay:
        """The replay of a run that begins."""
        replay = make_replay(self.manifest)
        if self.source is not None:
            take_over(self.source, replay)
        return replay


def open_supply(run: Run, num_runs: int, stack: contextlib.ExitStack, process: int = 0) -> Supply:
    """Opens what the settings say.

    Args:
        run: The run.
        num_runs: Runs that are trained together and share the cores.
        stack: Closes the environments in the end.
        process: Number of the process that has these environments.
    """
    if run.config.offline:
        source = find_source(run.config, run.path)
        return Supply(source.spec, source=source)
    if run.config.loop == "device":
        env = make_functional_env(
            run.config.task,
            num_envs=run.config.env.num_envs,
            action_repeat=run.config.env.action_repeat,
            impl=run.config.env.mjx_impl,
            stagger=run.config.env.stagger,
            num_copies=num_runs,
        )
        return Supply(env.spec, functional=env)
    envs = stack.enter_context(make_envs(run.config.share, num_runs, process))
    return Supply(envs.spec, envs)


def make_envs(config: Config, num_runs: int = 1, process: int = 0) -> VectorEnv:
    """The environments that a run collects experience in.

    Args:
        config: Settings.
        num_runs: Runs that are trained together and share the cores.
        process: Number of the process that has these environments.
    """
    return make_vector_env(
        config.task,
        num_envs=config.env.num_envs,
        seed=collect_seed(config, process),
        **config.env.options,
        backend=config.env.backend,
        mjx_impl=config.env.mjx_impl,
        stagger=config.env.stagger,
        workers=num_workers(config, num_runs),
        timeout=config.env.timeout,
        max_restarts=config.env.max_restarts,
        # What was lost with a worker could not be repeated.
        replace_workers=not config.deterministic,
    )


def collect_seed(config: Config, process: int = 0) -> int:
    """What the environments of a run are seeded with."""
    return derive_seed(config.seed, "collect", process)


def num_workers(config: Config, num_runs: int = 1) -> int:
    """Processes or threads that step the environments of a run.

    Args:
        config: Settings.
        num_runs: Runs that are trained together and share the cores.
    """
    if config.env.workers is not None:
        return min(config.env.workers, config.env.num_envs)
    return min(config.env.num_envs, max(1, num_cores() // num_runs))
