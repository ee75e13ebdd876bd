"""Source of a run's experience: environments, or what another run has stored."""

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints import checkpoint
from ..config import Config, EnvConfig
from ..datasets import DataFolder, is_data
from ..envs import (
    EnvSpec,
    VectorEnv,
    check_same,
    env_factory,
    env_seed,
    found_by_name,
    in_workers,
    make_env,
    make_functional_env,
    make_vector_env,
)
from ..envs.adapters.adapter import Adapter
from ..envs.check import check_quickly, check_quickly_in_child
from ..envs.functional.auto_reset import AutoReset
from ..errors import MachineError, Unsuitable, UsageError
from ..machine.provenance import num_cores
from ..replay import AbstractReplay, ReplayStore
from ..runs.folder import RunFolder
from ..runs.start import PlannedRun
from ..seeding import derive_seed
from ..suite import same_task
from .experience import LATENT, on_host


class Source(NamedTuple):
    """Source of a run's experience; one of the three is there."""

    spec: EnvSpec
    envs: VectorEnv | None = None
    functional: AutoReset | None = None
    """Environments that the program of the device loop holds."""

    stored: Path | None = None
    """Files of the replay that a run without environments trains on."""

    manifest: Mapping[str, Any] | None = None
    """That of this replay."""


def open_source(
    run: PlannedRun, num_runs: int, stack: contextlib.ExitStack, process: int = 0
) -> Source:
    """Open the source that the settings name.

    Args:
        run: The run.
        num_runs: Runs that are trained together and share the cores.
        stack: Closes the environments in the end.
        process: Number of the process that has these environments.
    """
    if run.config.offline:
        return _find_stored(run.config, run.path)
    if run.config.loop == "device":
        env = make_functional_env(
            run.config.task,
            num_envs=run.config.env.num_envs,
            impl=run.config.env.mjx_impl,
            stagger=run.config.env.stagger,
            num_copies=num_runs,
            **run.config.env_options,
        )
        return Source(env.spec, functional=env)
    envs = stack.enter_context(make_envs(run.config.share, num_runs, process))
    return Source(envs.spec, envs)


def make_envs(config: Config, num_runs: int = 1, process: int = 0) -> VectorEnv:
    """Make the environments that a run collects experience in.

    Args:
        config: Settings.
        num_runs: Runs that are trained together and share the cores.
        process: Number of the process that has these environments.
    """
    return make_vector_env(
        config.task,
        num_envs=config.env.num_envs,
        seed=collect_seed(config, process),
        **config.env_options,
        backend=config.env.backend,
        mjx_impl=config.env.mjx_impl,
        stagger=config.env.stagger,
        workers=num_workers(config, num_runs),
        timeout=config.env.timeout,
        max_restarts=config.env.max_restarts,
        # What was lost with a worker could not be repeated.
        replace_workers=not config.deterministic,
    )


def check_own_env(config: Config) -> None:
    """Check an environment of one's own for a moment, where it will be stepped, and close it.

    Raises:
        UsageError: If it breaks a rule that training relies on.
        WorkerError: If its process dies or does not answer.
    """
    factory = env_factory(config.task, **config.env_options)
    seed = env_seed(collect_seed(config), 0)
    if num_workers(config) > 0:
        name = f"The check of {config.task}"
        found = check_quickly_in_child(factory, seed, name=name, timeout=config.env.timeout)
    else:
        found = check_quickly(factory, seed)
    if found is not None:
        rule, finding = found
        more = ""
        if found_by_name(config.task):
            command = shlex.join(["gpld", "check-env", config.task, *_env_flags(config)])
            more = f"; `{command}` checks all rules"
        raise UsageError(
            f"The environment {config.task} breaks a rule of training, {rule}: "
            f"{finding.text}{more}."
        )


def _env_flags(config: Config) -> list[str]:
    """Return the flags of `env` that are options of an environment, but for defaults."""
    default, flags = EnvConfig(), []
    for name in config.env_options:
        if (value := getattr(config.env, name)) != getattr(default, name):
            flags += [f"--env.{name}", str(value)]
    return flags


def collect_seed(config: Config, process: int = 0) -> int:
    """Return the seed of a run's environments."""
    return derive_seed(config.seed, "collect", process)


def num_workers(config: Config, num_runs: int = 1) -> int:
    """Return how many processes or threads step the environments of a run.

    Args:
        config: Settings.
        num_runs: Runs that are trained together and share the cores.
    """
    if not in_workers(config.task):
        return 0
    if config.env.workers is not None:
        return min(config.env.workers, config.env.num_envs)
    return min(config.env.num_envs, max(1, num_cores() // num_runs))


def take_over(stored: Path, manifest: Mapping[str, Any], replay: AbstractReplay) -> None:
    """Fill an empty replay with the steps and latent states of another run, or with data.

    Random numbers stay those of the run that trains, and nothing waits in the online queue.

    Args:
        stored: Files of the other replay.
        manifest: That of the other replay.
        replay: What is filled.

    Raises:
        UsageError: If the latent states have other sizes.
        MachineError: If a file is damaged.
    """
    # Of the state of the other replay only what both loops have.
    taken = {name: manifest["state"][name] for name in ("num_added", "oldest")}
    own = {**manifest, "state": replay.get_state() | taken}
    try:
        ReplayStore(stored).load(own, replay)
    except Unsuitable as error:
        raise UsageError(f"`--offline` with {stored} does not fit: {error}") from error
    if not manifest["arrays"]["mutable"]:
        # No model has seen imported data, so there are no latent states yet. Zeros will do: a
        # sequence uses only the one of its context step, `is_first` resets it where an episode
        # begins, and every update writes those of the model at hand in their place (`refresh`).
        for name in LATENT:
            on_host(replay).ring.arrays[name].fill(0)


def _find_stored(config: Config, path: Path) -> Source:
    """Find the replay that `config.offline` names, or in `path`, once that has taken it over.

    Args:
        config: Settings.
        path: Folder of the run that trains.

    Raises:
        UsageError: If there is neither run nor data, one of another task or without a replay, or
            its last checkpoint has another format.
        MachineError: If its last checkpoint is damaged, or there is none.
    """
    own, offline = RunFolder(path), Path(config.offline or "").absolute()
    if own.checkpoint_paths():
        return _find_run(config, own)
    if is_data(offline):
        return _find_data(config, offline)
    return _find_run(config, RunFolder(offline))


def _find_run(config: Config, folder: RunFolder) -> Source:
    """Find the replay of a run."""
    settings = folder.config()
    same = same_task(config.task, settings.task)
    if not same or config.env_options != settings.env_options:
        flags = [f"--task {shlex.quote(settings.task)}"]
        for name, value in settings.env_options.items():
            if value != config.env_options[name]:
                value = settings.env.kwargs if name == "kwargs" else value
                flags.append(f"--env.{name} {shlex.quote(str(value))}")
        raise UsageError(
            f"`--offline` {folder.path} holds steps that were taken with other settings; add "
            f"`{' '.join(flags)}`."
        )
    try:
        saved = checkpoint.read(folder.latest_checkpoint())
    except (UsageError, MachineError) as error:
        raise type(error)(f"`--offline` cannot be used: {error}") from error
    if not saved.resumable:
        raise UsageError(f"`--offline` must be a run with a replay, but {saved.path} has none.")
    manifest = saved.manifest["replay"]
    _check_length(config, folder.path, manifest)
    return Source(folder.env_spec(), stored=folder.path / "checkpoints/replay", manifest=manifest)


def _find_data(config: Config, path: Path) -> Source:
    """Find imported data."""
    data = DataFolder.read(path)
    same = same_task(config.task, data.task)
    if not same or config.action_repeat != data.spec.action_repeat:
        raise UsageError(
            f"`--offline` {path} holds data of another task; add `--task {shlex.quote(data.task)} "
            f"--env.action_repeat {data.spec.action_repeat}`."
        )
    size = config.env.image_size
    for name, array in data.spec.observation.items():
        if size is not None and len(array.shape) == 3 and array.shape[:2] != (size, size):
            height, width, _ = array.shape
            raise UsageError(
                f"`env.image_size` must be the size of the images in `--offline` {path}, where "
                f"{name} is {height} x {width}, got {size}; `gpld import-data --image_size` "
                "resizes them."
            )
    _check_length(config, path, data.manifest)
    if config.learn == "agent":
        _check_environment(config, data)
    return Source(data.spec, stored=data.files, manifest=data.manifest)


def _check_length(config: Config, path: Path, manifest: Mapping[str, Any]) -> None:
    """Check that a sequence can be drawn from a stored replay."""
    steps = manifest["state"]["num_added"] - manifest["state"]["oldest"]
    if steps <= config.replay.batch_length:
        raise UsageError(
            f"`replay.batch_length` must be below {steps}, the env steps of each stream in "
            f"`--offline` {path}, got {config.replay.batch_length}."
        )


def _check_environment(config: Config, data: DataFolder) -> None:
    """Check that the environment in which the agent is evaluated is that of the data."""
    with contextlib.closing(make_env(config.task, seed=0, **config.env_options)) as env:
        subject = (
            f"`--offline` {data.path} does not fit (`--learn world_model` needs no environment): "
            f"{config.task}, where the agent is evaluated,"
        )
        check_same(subject, env.spec, "the data set", data.spec)
        bounds = env.bounds if isinstance(env, Adapter) else None
        if bounds is None or data.bounds is None:
            return
        imported = np.array(data.bounds)
        others = np.flatnonzero(~np.isclose(bounds, imported, rtol=1e-5).all(0))  # of float32
        for entry in others[:1].tolist():
            own, theirs = ("[{:g}, {:g}]".format(*x[:, entry]) for x in (bounds, imported))
            raise UsageError(
                f"{subject} has actions in {own} at entry {entry}, but the data set was imported "
                f"with {theirs}; `gpld import-data --low --high` sets them."
            )
