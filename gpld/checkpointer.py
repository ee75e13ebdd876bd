"""When a run is saved, what is kept, and what is resumed from."""

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from . import checkpoint
from .agent import AgentState
from .checkpoint import Damaged
from .config import CheckpointConfig
from .errors import MachineError
from .replay import DamagedReplayError, Replay, ReplayStore, Snapshot
from .run_folder import RunFolder


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
    replay: Replay
    manifest: Mapping[str, Any]


class Checkpointer(contextlib.AbstractContextManager):
    """Saves a run beside its training, and finds what it can be resumed from."""

    def __init__(self, folder: RunFolder, config: CheckpointConfig, warn: Callable[[str], None]):
        """Prepares the folders.

        Args:
            folder: Folder of the run.
            config: How often, and how much is kept.
            warn: Told in a line when something could not be saved, or is damaged.

        Raises:
            MachineError: If they cannot be written to.
        """
        self._folder, self._config, self._warn = folder, config, warn
        self._path = folder.path / "checkpoints"
        try:
            self._path.mkdir(exist_ok=True)
            for unfinished in self._path.glob(".*.tmp"):
                shutil.rmtree(unfinished)
            self.store = ReplayStore(self._path / "replay")
        except OSError as error:
            raise MachineError(f"Cannot write to {self._path}: {error.strerror}.") from error
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None
        self._saved_at = time.monotonic()

    def overdue(self) -> bool:
        """Whether the last checkpoint is older than a kill may cost."""
        return time.monotonic() - self._saved_at >= 60 * self._config.minutes

    def settle(self) -> None:
        """Waits for what is being saved; a warning if it could not be."""
        try:
            self.wait()
        except MachineError as error:
            self._warn(f"{error} The checkpoint before it stays good.")

    def begin(self, contents: Contents) -> None:
        """Begins to save, while the training goes on; `settle` must have been called."""
        self._saved_at = time.monotonic()
        # The sizes of now: what is logged from here on comes after the checkpoint.
        logs = self._folder.log_sizes()
        self._running = self._executor.submit(self._save, contents, logs)

    def wait(self) -> None:
        """Waits for what `begin` began.

        Raises:
            MachineError: If it could not be saved.
        """
        running, self._running = self._running, None
        if running is None:
            return
        try:
            running.result()
        except OSError as error:
            raise MachineError(
                f"Cannot write a checkpoint to {self._path}: {error.strerror}."
            ) from error

    def __exit__(self, *_: object) -> None:
        """Waits for what is being saved."""
        self.settle()
        self._executor.shutdown()

    def latest(
        self, like: AgentState, make_replay: Callable[[Mapping[str, Any]], Replay]
    ) -> Saved | None:
        """Loads the last checkpoint that is whole, and sets damaged ones aside.

        Args:
            like: A state of the agent's structure.
            make_replay: Makes an empty replay for one that was saved with this manifest.

        Returns:
            What the run goes on from; None if there is no checkpoint yet.

        Raises:
            MachineError: If there are checkpoints, but none can be resumed from.
        """
        paths = self._folder.checkpoint_paths()
        for path in reversed(paths):
            try:
                found = checkpoint.read(path)
                if not found.resumable:
                    continue
                agent, loop = checkpoint.load_agent(found, like), checkpoint.load_loop(found)
                replay = make_replay(found.manifest["replay"])
                self.store.load(found.manifest["replay"], replay)
            except (Damaged, DamagedReplayError) as error:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                reason = str(error).rstrip(".")
                self._warn(f"{reason}: set aside as {aside.name}, the one before it is tried")
                continue
            return Saved(path, agent, loop, replay, found.manifest)
        if paths:
            raise MachineError(
                f"{self._path} holds no checkpoint that the run can be resumed from; begin anew "
                "in another folder with `--run`."
            )
        return None

    def _save(self, contents: Contents, logs: Mapping[str, int]) -> None:
        try:
            # What the manifest promises of the logs must be on disk before it is.
            self._folder.sync_logs()
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
        path = self._folder.new_checkpoint_path(contents.env_step)
        checkpoint.write(path, jax.device_get(contents.agent), contents.loop, manifest)
        self._rotate()

    def _is_kept(self, env_step: int) -> bool:
        number, n = env_step // self._config.every, self._config.keep_every
        return n > 0 and number % n == 0

    def _rotate(self) -> None:
        intact = []
        for path in self._folder.checkpoint_paths():
            try:
                intact.append(checkpoint.read(path))
            except Damaged:
                continue  # left for the user to look at, and reported when resuming
        resumable = [found for found in intact if found.resumable]
        kept = resumable[-self._config.keep :]
        for old in resumable[: -self._config.keep]:
            if old.manifest["keep_agent"]:
                checkpoint.keep_agent(old)
            else:
                checkpoint.delete(old)
        self.store.prune(found.manifest["replay"] for found in kept)
