"""Training on what another run has stored, without an environment."""

from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoints import checkpoint
from ..checkpoints.checkpoint import Damaged, Unsuitable
from ..config import Config
from ..envs import EnvSpec
from ..errors import MachineError, UsageError
from ..replay import AbstractReplay, ReplayStore, UnsuitableReplayError
from ..runs.folder import RunFolder


class Source(NamedTuple):
    """A run whose replay is trained on."""

    folder: RunFolder
    spec: EnvSpec
    """Shapes and sizes of its task."""

    manifest: dict[str, Any]
    """Of its replay."""


def find_source(config: Config, path: Path) -> Source:
    """The run `config.offline`; or the one in `path`, which has taken the replay over.

    Args:
        config: Settings.
        path: Folder of the run that trains.

    Raises:
        UsageError: If there is no run, one of another task or without a replay, or its last
            checkpoint has another format.
        MachineError: If its last checkpoint is damaged, or there is none.
    """
    own = RunFolder(path)
    folder = own if own.checkpoint_paths() else RunFolder(Path(config.offline or ""))
    stored = folder.config()
    if (config.task, config.env.options) != (stored.task, stored.env.options):
        flags = [f"--task {stored.task}"]
        flags += [f"--env.{name} {value}" for name, value in stored.env.options.items()]
        raise UsageError(
            f"`--offline` {folder.path} holds steps that were taken with other settings; add "
            f"`{' '.join(flags)}`."
        )
    try:
        saved = checkpoint.read(folder.latest_checkpoint())
    except Damaged as error:
        raise MachineError(f"`--offline` cannot be used: {error}.") from error
    except Unsuitable as error:
        raise UsageError(f"`--offline` cannot be used: {error}.") from error
    if not saved.resumable:
        raise UsageError(f"`--offline` must be a run with a replay, but {saved.path} has none.")
    return Source(folder, folder.env_spec(), saved.manifest["replay"])


def take_over(source: Source, replay: AbstractReplay) -> None:
    """Fills an empty replay with the steps and latent states of a run.

    Random numbers stay those of the run that trains, and nothing waits in the online queue.

    Raises:
        UsageError: If the latent states have other sizes.
        MachineError: If a file is damaged.
    """
    # Of the state of the source only what both loops have.
    stored = {name: source.manifest["state"][name] for name in ("num_added", "oldest")}
    manifest = source.manifest | {"state": replay.get_state() | stored}
    try:
        ReplayStore(source.folder.path / "checkpoints" / "replay").load(manifest, replay)
    except UnsuitableReplayError as error:
        raise UsageError(f"`--offline` {source.folder.path} does not fit: {error}") from error
