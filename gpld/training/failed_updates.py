"""Failed updates: kept with all that they depend on, and examined."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from .. import agent
from ..agent import AgentState
from ..checkpoints import checkpoint, tree_file
from ..config import Config, from_dict, to_dict
from ..errors import MachineError, UsageError
from ..losses import Batch
from ..models import StoredLatent
from ..runs.folder import RunFolder
from .seed_run import SeedRun


def save(
    folder: RunFolder,
    config: Config,
    state: AgentState,
    batch: Batch,
    env_step: int,
    *,
    key: PRNGKeyArray,
) -> Path:
    """Keep an update that was skipped.

    Args:
        folder: Folder of the run.
        config: Settings.
        state: The agent after the update, which changed nothing but the count of updates.
        batch: What it was trained on.
        env_step: Env steps collected before it.
        key: Random key of the update.

    Returns:
        The folder that `examine` takes.

    Raises:
        MachineError: If it cannot be written.
    """
    state, batch = jax.device_get((state, batch))
    path = folder.path / "faults" / f"update_{int(state.update) - 1:09d}"
    arrays = batch._asdict() | {"context": batch.context._asdict()}
    fault = {"config": to_dict(config), "batch": arrays, "key": np.asarray(jr.key_data(key))}
    try:
        path.parent.mkdir(exist_ok=True)  # without parents: a run may have been moved away
        shutil.rmtree(path, ignore_errors=True)  # of a run that was resumed and failed again
        state = eqx.tree_at(lambda state: state.update, state, state.update - 1)
        manifest = {"env_step": env_step, "update": int(state.update), "replay": None}
        checkpoint.write(path, state, tree_file.dump(fault), manifest)
    except OSError as error:
        raise MachineError(f"Cannot write to {path}: {error.strerror}.") from error
    return path


def stopped(
    folder: RunFolder,
    config: Config,
    state: AgentState,
    batch: Batch,
    env_step: int,
    *,
    skips: int,
    key: PRNGKeyArray,
) -> MachineError:
    """Keep the last update and return the error that ends a run after too many skips in a row.

    Args:
        folder: Folder of the run.
        config: Settings.
        state: The agent after the update.
        batch: What it was trained on, as host arrays.
        env_step: Env steps collected before it.
        skips: Updates in a row that were skipped.
        key: Random key of the updates, before it is mixed with their count.
    """
    # A skipped update leaves the agent as it was, so this is the state before it.
    key = jr.fold_in(key, state.update - 1)  # as the update mixed it
    try:
        path = save(folder, config, state, batch, env_step, key=key)
        rest = f"repeat the last one with `python scripts/replay_update.py {path}`."
    except MachineError as error:
        rest = f"the last one could not be kept: {error}"
    return MachineError(
        f"Loss or gradient were not finite in {skips} updates in a row, at env step {env_step}; "
        f"{rest}"
    )


def raise_if_too_many(
    run: SeedRun,
    skips: int,
    last: Callable[[], tuple[AgentState, Batch | None]],
    env_step: int,
    *,
    key: PRNGKeyArray,
) -> None:
    """Check that a run has skipped fewer than `optimizer.max_skips` updates in a row.

    Args:
        run: The run.
        skips: Updates in a row that it has skipped.
        last: Returns the agent after the last update, and its batch as host arrays.
        env_step: Env steps collected before it.
        key: Random key of the updates, before it is mixed with their count.

    Raises:
        Failure: If it has skipped as many; the last update is kept.
    """
    if skips < run.config.optimizer.max_skips:
        return
    state, batch = last()
    if batch is not None:
        with run.failing_as():
            raise stopped(run.folder, run.config, state, batch, env_step, skips=skips, key=key)


def examine(path: Path) -> list[str]:
    """Repeat the loss and gradient of a kept update and say where they are not finite.

    Args:
        path: A folder that `save` made.

    Returns:
        Lines about parameters, batch, losses and gradients.

    Raises:
        UsageError: If there is no such folder, or another version of gpld has made it.
        MachineError: If a file of it is damaged.
    """
    if not (path / "manifest.json").exists():
        raise UsageError(f"`fault` must be a folder under `faults/` of a run, got {path}.")
    try:
        saved = checkpoint.read(path)
        fault = checkpoint.load_loop(saved)
        config, batch = from_dict(fault["config"]), _batch(fault["batch"])
        shapes = {name: x.shape[2:] for name, x in batch.observation.items()}
        action_size = batch.prev_action.shape[-1]
        like = eqx.filter_eval_shape(agent.init, config, shapes, action_size, key=jr.key(0))
        state = checkpoint.load_agent(saved, like)
        key = jr.wrap_key_data(jnp.asarray(fault["key"]))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} holds no update of this version of gpld ({type(error).__name__}: {reason})."
        ) from error
    compute = eqx.filter_jit(agent.loss_and_grads)
    (loss, output), grads = compute(state, batch, config=config, key=key)
    rest = batch._asdict()
    observation = {f"observation/{name}": x for name, x in rest.pop("observation").items()}
    return [
        f"update {saved.manifest['update']:,} of {config.task}: loss {float(loss):g}",
        *_lines("parameters", _by_module(state.model)),
        *_lines("batch", rest | observation),
        *_lines("losses", output.losses),
        *_lines("gradients", _by_module(grads)),
    ]


def _batch(arrays: Mapping[str, Any]) -> Batch:
    context = StoredLatent(**arrays["context"])
    return jax.tree.map(jnp.asarray, Batch(**{**arrays, "context": context}))


def _by_module(model: PyTree) -> dict[str, PyTree]:
    return {name: eqx.filter(part, eqx.is_inexact_array) for name, part in vars(model).items()}


def _lines(title: str, parts: Mapping[str, PyTree]) -> list[str]:
    """Describe each part in a line: its largest magnitude, and how much is not finite."""
    lines = []
    for name, part in parts.items():
        leaves = [np.asarray(x, np.float32).ravel() for x in jax.tree.leaves(part)]
        values = np.concatenate([*leaves, np.zeros(0, np.float32)])
        finite = np.isfinite(values)
        largest = np.abs(values[finite]).max(initial=0)
        bad = f"  <- {np.sum(~finite):,} of {values.size:,} not finite" if not finite.all() else ""
        lines.append(f"{title:10} {name:24} largest magnitude {largest:.4g}{bad}")
    return lines
