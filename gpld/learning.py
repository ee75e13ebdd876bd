"""Learning from replay: sample, update, refresh."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from . import faults
from .agent import AgentState
from .config import Config
from .envs import EnvSpec
from .errors import MachineError
from .experience import refresh, sample, to_batch
from .losses import Batch
from .models import StoredLatent
from .recorder import Recorder
from .replay import Replay, Sample
from .run_folder import RunFolder


class Result(NamedTuple):
    """What an update leaves to be looked at once the device has finished it."""

    latents: StoredLatent
    skipped: Float[Array, ""]


class Learner:
    """Trains the agent on replayed sequences.

    Latent states go back to replay while the device works on the update after theirs, so that
    neither waits for the other. That order is part of the results, and so of what is saved.
    """

    state: AgentState

    def __init__(
        self,
        config: Config,
        state: AgentState,
        replay: Replay,
        recorder: Recorder,
        folder: RunFolder,
        spec: EnvSpec,
        update: Any,
        *,
        key: PRNGKeyArray,
    ):
        """Takes over the agent.

        Args:
            config: Settings.
            state: The agent.
            replay: What is trained on.
            recorder: Told of every update.
            folder: Where an update goes that could not be made.
            spec: Shapes and sizes of the task.
            update: `update(state, batch, key)`, compiled.
            key: Random key; mixed with the update count.
        """
        self.state = state
        self._config, self._replay, self._recorder = config, replay, recorder
        self._folder, self._spec, self._update, self._key = folder, spec, update, key
        self._sample: Sample | None = None
        self._result: Result | None = None
        self._skips_in_a_row = 0

    @property
    def batch(self) -> Batch | None:
        """What was trained on last."""
        return None if self._sample is None else to_batch(self._sample, self._spec)

    def update(self) -> None:
        """Makes one update.

        Raises:
            MachineError: If the loss or gradient was not finite too often in a row.
        """
        stopwatch = self._recorder.stopwatch
        with stopwatch("replay"):
            previous = (self._sample, self._result)
            self._sample = sample(self._replay, self._config.replay.batch_size)
        with stopwatch("update"):
            batch = to_batch(self._sample, self._spec)
            self.state, latents, metrics = self._update(self.state, batch, self._key)
            self._result = Result(latents, metrics["opt/skipped"])
        self._recorder.updated(metrics)
        with stopwatch("replay"):  # while the device works on the update
            self._finish(*previous)
        if self._skips_in_a_row > 0:  # in doubt it is waited for
            self._finish(self._sample, self._result)
            self._result = None

    def wait(self) -> None:
        """Waits for the device."""
        jax.block_until_ready(self.state)

    def get_state(self) -> dict[str, Any]:
        """What the last update left to be done; the agent is saved by itself."""
        drawn, result = self._sample, self._result
        return {
            "sample": None if drawn is None else drawn._asdict(),
            "latents": None if result is None else jax.device_get(result.latents)._asdict(),
            "skipped": None if result is None else float(result.skipped),
            "skips_in_a_row": self._skips_in_a_row,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        self._sample = None if state["sample"] is None else Sample(**state["sample"])
        self._result = None
        if state["latents"] is not None:
            latents = StoredLatent(**state["latents"])
            self._result = Result(latents, jnp.float32(state["skipped"]))
        self._skips_in_a_row = state["skips_in_a_row"]

    def _finish(self, trained_on: Sample | None, result: Result | None) -> None:
        """Writes the latent states of an update to replay, unless they are not finite."""
        if trained_on is None or result is None:
            return
        if not result.skipped:
            refresh(self._replay, trained_on, result.latents)
            self._skips_in_a_row = 0
            return
        self._skips_in_a_row += 1
        self._recorder.skipped += 1
        if self._skips_in_a_row >= self._config.optimizer.max_skips:
            # A skipped update leaves the agent as it was, so this is the state before it.
            batch = to_batch(trained_on, self._spec)
            key = jr.fold_in(self._key, self.state.update - 1)  # as the update mixed it
            path = faults.save(
                self._folder, self._config, self.state, batch, self._recorder.env_step, key=key
            )
            raise MachineError(
                f"Loss or gradient were not finite in {self._skips_in_a_row} updates in a row, "
                f"at env step {self._recorder.env_step}; repeat the last one with "
                f"`python scripts/replay_update.py {path}`."
            )
