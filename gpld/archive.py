"""The checkpoints of one run: what is kept of them, and what is resumed from."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from . import checkpoint
from .agent import AgentState
from .checkpoint import Checkpoint, Damaged, Unsuitable
from .config import CheckpointConfig
from .errors import MachineError
from .replay import AbstractReplay, DamagedReplayError, ReplayStore, Snapshot
from .run_folder import RunFolder, clocks


class Contents(NamedTuple):
    """What is saved at one moment."""

    env_step: int
    update: int
    milestone: bool
    """Whether this is one of those at multiples of `checkpoint.every` env steps."""

    agent: AgentState
    loop: bytes
    """Of `tree_file`: what the loop goes on to change must not be looked at later."""

    replay: Snapshot


class Saved(NamedTuple):
    """What a run goes on from."""

    path: Path
    agent: AgentState
    loop: Mapping[str, Any]
    replay: AbstractReplay
    manifest: Mapping[str, Any]


class Moment(NamedTuple):
    """When a checkpoint was written; later ones are greater."""

    env_step: int
    number: int
    """Among those of the same env step."""

    update: int


class Archive:
    """The checkpoints in a run folder."""

    def __init__(self, folder: RunFolder, config: CheckpointConfig, warn: Callable[[str], None]):
        """Prepares the folders.

        Args:
            folder: Folder of the run.
            config: How much is kept.
            warn: Told in a line when something could not be saved, or is damaged.

        Raises:
            MachineError: If they cannot be written to.
        """
        self.folder, self.warn = folder, warn
        self.path = folder.path / "checkpoints"
        self._config = config
        try:
            self.path.mkdir(exist_ok=True)
            for unfinished in self.path.glob(".*.tmp"):
                shutil.rmtree(unfinished)
            self.store = ReplayStore(self.path / "replay")
        except OSError as error:
            raise MachineError(f"Cannot write to {self.path}: {error.strerror}.") from error

    def moments(self) -> set[Moment]:
        """Those that the run can be resumed from, unless their files are damaged."""
        return {_moment(found) for found in self._resumable()}

    def set_damaged_aside(self) -> None:
        """Renames checkpoints without a manifest that can be understood, as `load` does."""
        for path in self.folder.checkpoint_paths():
            try:
                checkpoint.read(path)
            except (Damaged, Unsuitable) as error:
                self._set_aside(path, error)

    def load(
        self,
        moment: Moment,
        like: AgentState,
        make_replay: Callable[[Mapping[str, Any]], AbstractReplay],
    ) -> Saved | None:
        """Loads a checkpoint, or sets it aside if it is damaged.

        Args:
            moment: One of `moments`.
            like: A state of the agent's structure.
            make_replay: Makes an empty replay for one that was saved with this manifest.

        Returns:
            What the run goes on from; None if it is damaged.
        """
        path = self.folder.checkpoint_path(moment.env_step, moment.number)
        try:
            found = checkpoint.read(path)
            agent, loop = checkpoint.load_agent(found, like), checkpoint.load_loop(found)
            replay = make_replay(found.manifest["replay"])
            self.store.load(found.manifest["replay"], replay)
        except (Damaged, Unsuitable, DamagedReplayError) as error:
            self._set_aside(path, error)
            return None
        return Saved(path, agent, loop, replay, found.manifest)

    def forget_after(self, moment: Moment | None) -> None:
        """Deletes what was saved later than a moment, and is made again."""
        for found in self._resumable():
            if moment is None or _moment(found) > moment:
                self.warn(f"{found.path} is left out: not every run has got that far")
                checkpoint.delete(found)

    def save(self, contents: Contents, logs: Mapping[str, int]) -> None:
        """Writes a checkpoint.

        Args:
            contents: What it holds.
            logs: Sizes of the files of lines at its moment.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            # What the manifest promises of the logs must be on disk before it is.
            self.folder.sync_logs()
        except OSError:
            contents.replay.discard()  # or it would go on keeping what is overwritten
            raise
        manifest = {
            "env_step": contents.env_step,
            "update": contents.update,
            "keep_agent": contents.milestone and self._is_kept(contents.env_step),
            "logs": dict(logs),
            "replay": contents.replay.write(),
        }
        path = self.folder.new_checkpoint_path(contents.env_step)
        checkpoint.write(path, jax.device_get(contents.agent), contents.loop, manifest)

    def rotate(self) -> None:
        """Deletes of old checkpoints what is not to be kept."""
        resumable = self._resumable()
        kept = resumable[-self._config.keep :]
        for old in resumable[: -self._config.keep]:
            if old.manifest["keep_agent"]:
                checkpoint.keep_agent(old)
            else:
                checkpoint.delete(old)
        self.store.prune(found.manifest["replay"] for found in kept)

    def _resumable(self) -> list[Checkpoint]:
        intact = []
        for path in self.folder.checkpoint_paths():
            try:
                intact.append(checkpoint.read(path))
            except (Damaged, Unsuitable):
                continue  # left for the user to look at, and reported when resuming
        return [found for found in intact if found.resumable]

    def _is_kept(self, env_step: int) -> bool:
        number, n = env_step // self._config.every, self._config.keep_every
        return n > 0 and number % n == 0

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        reason = str(error).rstrip(".")
        self.warn(f"{reason}: set aside as {aside.name}, the one before it is tried")


def _moment(found: Checkpoint) -> Moment:
    return Moment(*clocks(found.path), found.manifest["update"])
