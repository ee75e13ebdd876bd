"""Numbers that are not finite: skipped, counted, and in the end looked into."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES, tiny_batch
from seed_runs import seed_run

from gpld import agent
from gpld.checkpoints import checkpoint, tree_file
from gpld.config import to_dict
from gpld.config.presets import PRESETS
from gpld.errors import MachineError, UsageError
from gpld.replay import Replay
from gpld.training import failed_updates
from gpld.training.seed_run import Failure
from gpld.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def state():
    return jax.jit(lambda key: agent.init(CONFIG, SHAPES, ACTION_SIZE, key=key))(jax.random.key(0))


@pytest.fixture(scope="module")
def update():
    return jax.jit(lambda state, batch, key: agent.update(state, batch, config=CONFIG, key=key))


def _poisoned(batch):
    observation = {**batch.observation, "height": batch.observation["height"].at[1, 2].set(jnp.nan)}
    return batch._replace(observation=observation)


def test_an_update_that_is_not_finite_changes_only_the_count(state, update):
    key = jax.random.key(1)
    after, _, metrics = update(state, _poisoned(tiny_batch()), key)
    assert metrics["opt/skipped"] == 1
    assert after.update == 1
    assert eqx.tree_equal(after, dataclasses.replace(state, update=after.update))


def test_a_finite_update_is_not_skipped(state, update):
    after, _, metrics = update(state, tiny_batch(), jax.random.key(1))
    assert metrics["opt/skipped"] == 0
    assert not eqx.tree_equal(after.opt_state, state.opt_state)


def _config(task="probe_delayed", **optimizer):
    debug = PRESETS["debug"]
    return dataclasses.replace(
        debug,
        task=task,
        env_steps=120,
        env=dataclasses.replace(debug.env, action_repeat=1),
        optimizer=dataclasses.replace(debug.optimizer, **optimizer),
        log=dataclasses.replace(debug.log, tensorboard=False),
    )


def _plant(monkeypatch, is_bad):
    """NaN in an observation on its way into replay, at chosen env steps."""
    add = Replay.add

    def planted(replay, steps):
        if is_bad(replay.num_added):
            steps = {**steps, "time": np.full_like(steps["time"], np.nan)}
        add(replay, steps)

    monkeypatch.setattr(Replay, "add", planted)


def test_a_run_goes_on_after_a_bad_observation(monkeypatch, tmp_path):
    _plant(monkeypatch, lambda step: step == 20)
    folder = train(_config(max_skips=10), tmp_path / "run")
    last = folder.read("metrics")[-1]
    assert last["env_step"] == 120
    assert 0 < last["faults/skipped_updates"] < last["update"]
    assert np.isfinite(last["train/opt/loss"])


@pytest.mark.parametrize(
    ("task", "other"),
    [
        ("probe_delayed", "signal"),
        pytest.param("probe_discrete", "number", marks=pytest.mark.exhaustive),
    ],
)
def test_many_in_a_row_stop_the_run_and_can_be_repeated(monkeypatch, tmp_path, task, other):
    _plant(monkeypatch, lambda step: step >= 25)
    with pytest.raises(MachineError, match="not finite in 3 updates in a row") as error:
        train(_config(task), tmp_path / "run")
    assert "\n" not in str(error.value)
    [path] = (tmp_path / "run" / "faults").iterdir()
    assert f"python scripts/replay_update.py {path}" in str(error.value)
    lines = failed_updates.examine(path)
    assert f"{task}: loss nan" in lines[0]
    bad = {tuple(line.split()[:2]) for line in lines if "not finite" in line}
    assert ("batch", "observation/time") in bad
    assert ("batch", f"observation/{other}") not in bad
    assert ("losses", "time") in bad
    assert not any(kind == "parameters" for kind, _ in bad)
    # All networks see the observation.
    assert ("gradients", "rssm") in bad


def test_an_update_that_cannot_be_kept_is_said_with_the_reason(state, tmp_path):
    run, keys = seed_run(tmp_path / "run", CONFIG), [jax.random.key(0)]
    run.folder.path.rename(tmp_path / "moved")
    last = (state, tiny_batch())
    with pytest.raises(Failure, match="not finite in 3 updates in a row, at env step 8") as failure:
        failed_updates.raise_if_too_many([run], [3], lambda i: last, 8, keys=keys)
    assert "; the last one could not be kept: Cannot write to" in str(failure.value)
    assert not run.folder.path.exists()


def test_an_update_whose_batch_is_gone_is_said_with_the_reason(state, tmp_path):
    run, keys = seed_run(tmp_path / "run", CONFIG), [jax.random.key(0)]
    with pytest.raises(Failure, match="could not be kept: it was made before this start"):
        failed_updates.raise_if_too_many([run], [3], lambda i: (state, None), 8, keys=keys)


def test_only_a_kept_update_can_be_repeated(tmp_path):
    with pytest.raises(UsageError, match="`fault` must be a folder under `faults/`"):
        failed_updates.examine(tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({}, "KeyError: 'config'"),
        ({"config": {"task": 5}}, "ValueError: `preset` is missing"),
        ({"config": to_dict(CONFIG), "batch": {}}, "KeyError: 'context'"),
        ({"config": to_dict(CONFIG), "batch": {"context": {"x": 1}}}, "TypeError: "),
    ],
)
def test_what_is_no_kept_update_is_named(state, tmp_path, fault, message):
    manifest = {"env_step": 0, "update": 0, "replay": None, "logs": {}, "keep_agent": False}
    checkpoint.write(tmp_path / "fault", state, tree_file.dump(fault), manifest)
    with pytest.raises(UsageError, match="fault holds no update of this version") as error:
        failed_updates.examine(tmp_path / "fault")
    assert message in str(error.value)
