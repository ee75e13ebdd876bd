"""Retention of one run's checkpoints: which are kept, and which one it starts from."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from ..agent import AgentState
from ..config import CheckpointConfig
from ..errors import Damaged, MachineError, UsageError
from ..machine.files import try_all, writing
from ..replay import AbstractReplay, ReplayStore, Snapshot
from ..runs.folder import RunFolder, clocks
from . import checkpoint
from .checkpoint import Checkpoint


class Contents(NamedTuple):
    """Contents of a new checkpoint."""

    agent: AgentState
    loop: bytes
    """Of `tree_file`: what the loop goes on to change must not be looked at later."""

    replay: Snapshot
    manifest: Mapping[str, Any]
    """What the manifest says of clocks, logs and settings."""


class Start(NamedTuple):
    """State that a run starts from: its beginning, or a checkpoint."""

    agent: AgentState
    replay: AbstractReplay
    path: Path | None = None
    """Folder of the checkpoint; None at the beginning, as what follows."""

    loop: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] = MappingProxyType({"env_step": None, "logs": {}})


class Moment(NamedTuple):
    """Moment of a checkpoint; later ones are greater."""

    env_step: int
    number: int
    """Among those of the same env step."""

    update: int


class Archive:
    """The checkpoints in a run folder."""

    def __init__(self, folder: RunFolder, config: CheckpointConfig, warn: Callable[[str], None]):
        """Find the folders; nothing in them changes before `prepare`.

        Args:
            folder: Folder of the run.
            config: How much is kept.
            warn: Told in a line when something could not be saved, or is damaged.

        Raises:
            MachineError: If they cannot be read.
        """
        self.folder, self.warn = folder, warn
        self.path = folder.path / "checkpoints"
        self._config = config
        self._damaged: dict[Path, str] = {}
        try:
            self.store = ReplayStore(self.path / "replay")
        except OSError as error:
            raise MachineError(f"Cannot read {self.path}: {error.strerror}.") from error

    @property
    def is_new(self) -> bool:
        """True if the run has left nothing but, at most, its checkpoint of env step 0."""
        begun = any(env_step > 0 for env_step in self.folder.checkpoints())
        return not (begun or self.folder.has_lines() or self.was_damaged)

    @property
    def was_exported(self) -> bool:
        """True if the folder is what `export` has written: an agent without its optimiser."""
        paths = [path for path in self.folder.checkpoint_paths() if path not in self._damaged]
        return any(not checkpoint.read(path).has_optimizer for path in paths)

    @property
    def was_damaged(self) -> bool:
        """True if a checkpoint was found to be damaged, now or by a start before."""
        return bool(self._damaged) or any(self.path.glob("damaged-*"))

    @property
    def damage(self) -> list[str]:
        """Reasons why checkpoints were found to be damaged, the last checkpoint first."""
        return [self._damaged[path] for path in sorted(self._damaged, reverse=True)]

    def moments(self) -> set[Moment]:
        """Return the moments of all checkpoints to resume from that are not known to be damaged.

        Raises:
            Unsuitable: If one of them is intact, but not for this process.
            MachineError: If one cannot be read, which says nothing of it.
        """
        found = set()
        for path in self.folder.checkpoint_paths():
            if path in self._damaged:
                continue
            try:
                read = checkpoint.read(path)
            except Damaged as error:
                self._damaged[path] = str(error).rstrip(".")
            else:
                if read.resumable:
                    found.add(_moment(read))
        return found

    def load(
        self,
        moment: Moment,
        like: AgentState,
        make_replay: Callable[[Mapping[str, Any]], AbstractReplay],
    ) -> Start | None:
        """Loads a checkpoint.

        Args:
            moment: One of `moments`.
            like: A state of the agent's structure.
            make_replay: Makes an empty replay for one that was saved with this manifest.

        Returns:
            What the run goes on from; None if it is damaged, which `prepare` acts upon.

        Raises:
            Unsuitable: If it is intact, but not for this process.
            MachineError: If it cannot be read, which says nothing of it.
        """
        path = self.folder.checkpoint_path(moment.env_step, moment.number)
        try:
            found = checkpoint.read(path)
            agent, loop = checkpoint.load_agent(found, like), checkpoint.load_loop(found)
            replay = make_replay(found.manifest["replay"])
            self.store.load(found.manifest["replay"], replay)
        except Damaged as error:
            self._damaged[path] = str(error).rstrip(".")
            return None
        return Start(agent, replay, path, loop, found.manifest)

    def prepare(self, moment: Moment | None) -> None:
        """Prepare the folder for checkpoints after a moment.

        Damaged checkpoints are set aside, later ones are deleted since they are made again, and
        so is what a kill has left half written. None is deleted in favour of the beginning.

        Args:
            moment: What the run goes on from, one of `moments`; None if it begins.

        Raises:
            MachineError: If the folder cannot be read or written to.
        """
        later = sorted(one for one in self.moments() if moment is None or one > moment)
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
            checkpoint.delete_unfinished(self.path)
            for path, reason in self._damaged.items():
                aside = _rename(path, "damaged")
                last = moment is not None and clocks(path) > moment[:2]
                used = ", the one before it is used" if last else ""
                self.warn(f"{reason}: set aside as {aside.name}{used}")
            for one in later:
                path = self.folder.checkpoint_path(one.env_step, one.number)
                said = f"{path} is left out: not every run has got that far"
                if one.env_step > 0 and (moment is None or moment.env_step == 0):
                    # All begins anew: what was trained may be of more use than what comes.
                    said += f"; it is kept as {_rename(path, 'later').name}"
                else:
                    checkpoint.delete(path)
                self.warn(said)

    def save(self, contents: Contents) -> None:
        """Writes a checkpoint.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            # What the manifest promises of the logs must be on disk before it is.
            self.folder.sync_logs()
        except OSError:
            contents.replay.discard()  # or it would go on keeping what is overwritten
            raise
        manifest = {**contents.manifest, "replay": contents.replay.write()}
        path = self.folder.new_checkpoint_path(manifest["env_step"])
        try:
            checkpoint.write(path, jax.device_get(contents.agent), contents.loop, manifest)
        except OSError:
            self._prune()  # of what was just written for it
            raise

    def rotate(self) -> None:
        """Delete old checkpoints, or reduce them to agents, as the settings say.

        Raises:
            MachineError: If some of it cannot be deleted; all else is.
        """
        old = self._resumable()[: -self._config.keep]
        with writing(self.path, "delete old checkpoints in"):
            try_all([*(functools.partial(_retire, one) for one in old), self._prune])

    def _prune(self) -> None:
        """Delete replay files that no checkpoint needs; none while a checkpoint cannot be read."""
        paths = [*self.folder.checkpoint_paths(), *self.path.glob("later-*")]
        try:
            found = [checkpoint.read(path) for path in paths]
        except (UsageError, MachineError):
            return  # nobody knows what that one needs
        self.store.prune(one.manifest["replay"] for one in found if one.resumable)

    def _resumable(self) -> list[Checkpoint]:
        """Return the readable checkpoints to resume from; a start reports the others."""
        found = []
        for path in self.folder.checkpoint_paths():
            with contextlib.suppress(UsageError, MachineError):
                found.append(checkpoint.read(path))
        return [one for one in found if one.resumable]


def _retire(old: Checkpoint) -> None:
    if old.manifest["keep_agent"]:
        checkpoint.keep_agent(old)
    else:
        checkpoint.delete(old.path)


def _rename(path: Path, prefix: str) -> Path:
    """Rename a checkpoint so that no start reads it, and return its new path."""
    first = path.with_name(f"{prefix}-{path.name}")
    others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))
    return path.rename(next(p for p in itertools.chain([first], others) if not os.path.lexists(p)))


def _moment(found: Checkpoint) -> Moment:
    return Moment(*clocks(found.path), found.manifest["update"])
