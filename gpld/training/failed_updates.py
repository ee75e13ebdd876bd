"""Failed updates: kept with all that they depend on, and examined."""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
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
from ..config import from_dict, to_dict
from ..errors import MachineError, UsageError
from ..losses import Batch
from ..machine.files import writing
from ..models import DiscretePolicy, Dreamer, StoredLatent
from .seed_run import SeedRun


def raise_if_too_many(
    runs: Sequence[SeedRun],
    skips: Sequence[int],
    last: Callable[[int], tuple[AgentState, Batch | None]],
    env_step: int,
    *,
    keys: Sequence[PRNGKeyArray],
) -> None:
    """Check that every run has skipped fewer than `optimizer.max_skips` updates in a row.

    Args:
        runs: One run per seed.
        skips: Updates in a row that each has skipped.
        last: Returns a run's agent after the last update, and its batch as host arrays.
        env_step: Env steps collected before it.
        keys: Random key of each run's updates, before it is mixed with their count.

    Raises:
        Failure: If one has skipped as many; its last update is kept.
    """
    for i, (run, number) in enumerate(zip(runs, skips, strict=True)):
        if number < run.config.optimizer.max_skips:
            continue
        try:
            path = _save(run, *last(i), env_step, key=keys[i])
            command = shlex.join(["python", "scripts/replay_update.py", str(path)])
            rest = f"repeat the last one with `{command}`."
        except MachineError as error:
            rest = f"the last one could not be kept: {error}"
        with run.failing_as():
            raise MachineError(
                f"Loss or gradient were not finite in {number} updates in a row, at env step "
                f"{env_step}; {rest}"
            )


def examine(path: Path) -> list[str]:
    """Repeat the loss and gradient of a kept update and say where they are not finite.

    Args:
        path: A folder below `faults/` of a run.

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
        config, arrays = from_dict(fault["config"]), jax.tree.map(jnp.asarray, fault["batch"])
        batch = Batch(**{**arrays, "context": StoredLatent(**arrays["context"])})
        shapes = {name: x.shape[2:] for name, x in batch.observation.items()}
        # Kept before there were discrete actions, it does not say its sizes.
        sizes = fault.get("sizes", {"action_size": batch.prev_action.shape[-1]})
        like = agent.abstract_state(config, shapes, **sizes)
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


def _save(
    run: SeedRun, state: AgentState, batch: Batch | None, env_step: int, *, key: PRNGKeyArray
) -> Path:
    """Keep the last update of a run, and return the folder that `examine` takes."""
    # A skipped update leaves all of the agent but its count as it was before.
    state = eqx.tree_at(lambda state: state.update, state, state.update - 1)
    key = jr.fold_in(key, state.update)  # as the update mixed it
    state, batch = jax.device_get((state, batch))
    if batch is None:
        raise MachineError("it was made before this start.")
    update = int(state.update)
    path = run.folder.path / "faults" / f"update_{update:09d}"
    arrays = batch._asdict() | {"context": batch.context._asdict()}
    fault = {
        "config": to_dict(run.config),
        "batch": arrays,
        "sizes": _sizes(state.model),
        "key": np.asarray(jr.key_data(key)),
    }
    with writing(path):
        path.parent.mkdir(exist_ok=True)  # without parents: a run may have been moved away
        shutil.rmtree(path, ignore_errors=True)  # of a run that was resumed and failed again
        manifest = {"env_step": env_step, "update": update, "replay": None}
        checkpoint.write(path, state, tree_file.dump(fault), manifest)
    return path


def _sizes(model: Dreamer) -> dict[str, Any]:
    """Return the arguments of `agent.init` that a batch does not tell."""
    vectors = model.encoder.vectors
    keys = () if vectors is None else vectors.keys
    return {
        "action_size": model.policy.size,
        "discrete": isinstance(model.policy, DiscretePolicy),
        "num_classes": {name: classes for name, classes in keys if classes is not None},
    }


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
