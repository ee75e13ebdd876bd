"""Training from Python on an environment that no other process can import."""

import dataclasses
import os
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces

import gpld
from gpld.config.presets import PRESETS
from gpld.envs import own
from gpld.envs.failures import TooManyFailuresError
from gpld.errors import UsageError


class Sized(gymnasium.Env):
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, *shape):
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, np.uint8), {}

    def step(self, action):
        return np.zeros(self.observation_space.shape, np.uint8), 0.0, False, False, {}


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    monkeypatch.setattr(own, "_allowed", set())
    debug = PRESETS["debug"]
    environments = dataclasses.replace(debug.env, workers=2)
    return dataclasses.replace(debug, env=environments, env_steps=100)


@pytest.mark.slow
def test_a_function_in_a_function_trains_and_goes_on(config, tmp_path, monkeypatch, capsys):
    made, steps, fails_at = [], 0, 230  # after the 199 of the check before the run
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    class Breaking(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (1,))
        action_space = spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return np.zeros(1), {}

        def step(self, action):
            nonlocal steps
            steps += 1
            if steps == fails_at:
                raise RuntimeError("the arm is off")
            return action, 1.0, False, steps % 10 == 0, {}

    def make(gain=1.0):
        made.append(gain)
        os.chdir(elsewhere)
        return Breaking()

    kwargs = dataclasses.replace(config.env, kwargs='{"gain": 3}')
    config = dataclasses.replace(config, env=kwargs)
    monkeypatch.chdir(tmp_path)
    run = gpld.train(config, Path("run"), env=make)
    output = capsys.readouterr().out
    assert "in the training process, since no other can import what makes them" in output
    assert "failed: RuntimeError: the arm is off (test_own_environment.py, line " in output
    assert set(made) == {3}
    assert run.config().task.endswith("<locals>.make")
    path = tmp_path / "run"
    assert gpld.load(path).config.action_repeat == 1
    assert not list(elsewhere.iterdir())

    longer = dataclasses.replace(config, env_steps=150)
    gpld.train(longer, path, env=make)
    assert "resumed     at env step 100 " in capsys.readouterr().out

    # One failure more than is allowed: all is saved, and goes on where more are.
    fails_at = steps + 20
    allowed = dataclasses.replace(config.env, max_restarts=1)
    longer = dataclasses.replace(config, env_steps=200, env=allowed)
    with pytest.raises(TooManyFailuresError, match=r"the arm is off .* than the 1 that `--env"):
        gpld.train(longer, path, env=make)
    reached = int(run.latest_checkpoint().name)
    assert 150 < reached < 200
    gpld.train(dataclasses.replace(longer, env=config.env), path, env=make)
    assert f"resumed     at env step {reached:,} " in capsys.readouterr().out
    assert run.read("metrics")[-1]["faults/env_restarts"] == 2
    assert run.read("metrics")[-1]["env_step"] == 200

    own._registered.clear()  # as in another program
    stored = dataclasses.replace(run.config(), env_steps=300)
    with pytest.raises((UsageError, ValueError), match="code of your own"):
        gpld.train(stored, path)

    with pytest.raises(UsageError, match=r"code of your own.*`env=` of `gpld\.train` or"):
        gpld.evaluate(path)
    with pytest.raises(ValueError, match=r"`env` must be what the run was trained on, .*make"):
        gpld.evaluate(path, env=Breaking)
    steps, fails_at = 0, -1
    evaluation = gpld.evaluate(path, env=make, num_episodes=3, num_envs=1)
    assert (evaluation.scores, evaluation.mean, evaluation.std) == ([10.0] * 3, 10.0, 0.0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((84, 84, 3), "equally large, with sides that are multiples of 16, got 84 x 84; `--env.im"),
        ((8, 40, 1), "got 8 x 40; `--env.image_size 16` resizes them; "),
        ((7, 7, 3), "; what is no picture can be flattened, as gymnasium.wrappers.FlattenObs"),
    ],
)
def test_pictures_that_cannot_be_halved_are_refused_with_a_size(config, tmp_path, shape, message):
    with pytest.raises(UsageError) as error:
        gpld.train(config, tmp_path / "run", env=lambda: Sized(*shape))
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_codes_that_look_like_a_picture_can_be_flattened(monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    gpld.register("codes", lambda: gymnasium.wrappers.FlattenObservation(Sized(7, 7, 3)))
    (array,) = gpld.make_env("codes", seed=0).spec.observation.values()
    assert (array.shape, array.dtype) == ((147,), np.float32)


class Broken(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, size=3):
        self.size = size

    def reset(self, *, seed=None, options=None):
        return np.zeros(2), {}

    def step(self, action):
        return np.zeros(self.size), 0.0, False, False, {}


@pytest.mark.parametrize("make", [Broken, lambda size=3: Broken(size)], ids=["worker", "here"])
def test_a_broken_rule_ends_a_run_before_it_begins(config, tmp_path, make):
    options = dataclasses.replace(config.env, kwargs='{"size": 5}')
    config = dataclasses.replace(config, env=options)
    with pytest.raises(UsageError) as error:
        gpld.train(config, tmp_path / "run", env=make)
    name = own.name_of(make)
    assert str(error.value).startswith(
        f"The environment {name} breaks a rule of training, observations: the observation has "
        "shape (5,), at step 1, but (2,) was announced; "
    )
    command = f"""; `gpld check-env {name} --env.kwargs '{{"size": 5}}'` checks all rules."""
    assert str(error.value).endswith(command) == own.found_by_name(name)
    assert ("check-env" in str(error.value)) == (make is Broken)
    assert not (tmp_path / "run").exists()


def test_settings_of_jax_that_an_environment_changes_end_a_run_before_it_begins(config, tmp_path):
    def make():
        jax.config.update("jax_debug_nans", True)
        return Sized(3)

    before = jax.config.jax_debug_nans
    try:
        with pytest.raises(UsageError, match="its code sets JAX_DEBUG_NANS to True, under which"):
            gpld.train(config, str(tmp_path / "run"), env=make)
    finally:
        jax.config.update("jax_debug_nans", before)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["action_space", "observation_space"])
def test_more_choices_than_memory_holds_are_refused_before_the_networks_are_made(
    config, tmp_path, monkeypatch, place
):
    env = Sized(3)
    setattr(env, place, spaces.Discrete(10**9))
    monkeypatch.setattr(env, "reset", lambda **_: (env.observation_space.sample(), {}))
    monkeypatch.setattr(
        env, "step", lambda _: (env.observation_space.sample(), 0.0, False, True, {})
    )
    with pytest.raises(UsageError, match=r"before and after an update take at least .* are free"):
        gpld.train(config, tmp_path / "run", env=lambda: env)
    assert not (tmp_path / "run").exists()
