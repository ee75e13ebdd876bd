"""Environments of one's own that are functions in JAX."""

import re
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from functional_target import Target

import gpld
from gpld.envs import make_env, make_functional_env, make_vector_env, own
from gpld.envs.probe import Memory
from gpld.errors import UsageError

ACTIONS = np.random.default_rng(0).integers(0, 2, (40, 3)).astype(np.int32)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    for name in ("_registered", "_compiled"):
        monkeypatch.setattr(own, name, {})
    monkeypatch.setattr(own, "_allowed", set())


@pytest.fixture
def task():
    gpld.register("target", Target)
    return "target"


def test_one_is_stepped_as_its_functions_say(task):
    env, functions = make_env(task, seed=3, kwargs={"size": 4}), Target(4)
    assert env.spec == functions.spec
    _, key = jr.split(jr.key(3))
    timestep, state = env.reset(), functions.reset(key)
    while True:
        np.testing.assert_equal(timestep._asdict(), jax.device_get(state.timestep)._asdict())
        if timestep.is_last:
            break
        timestep = env.step(np.array(1, np.int32))
        state = functions.step(state, jnp.int32(1))
    with pytest.raises(ValueError, match="`action` must be finite, of shape"):
        env.step(np.zeros(1, np.float32))


def test_an_episode_under_way_goes_on(task):
    """Of one, and of many in one program."""
    env = make_env(task, seed=0, episode_steps=12)
    other = make_env(task, seed=1, episode_steps=12)
    other.set_state(env.get_state())  # before the first reset
    np.testing.assert_equal(other.reset(), env.reset())
    for action in (0, 1, 0):
        env.step(action)
    other.set_state(env.get_state())
    for action in (0, 0, 1):
        np.testing.assert_equal(other.step(action), env.step(action))
    np.testing.assert_equal(other.reset(), env.reset())

    options = {"num_envs": 3, "backend": "mjx", "episode_steps": 6, "action_repeat": 2}
    with (
        make_vector_env(task, seed=0, **options) as envs,
        make_vector_env(task, seed=1, **options) as others,
    ):
        steps = [envs.step(action) for action in ACTIONS]
        assert any(x.is_terminal.any() for x in steps)
        assert any((x.is_last & ~x.is_terminal).any() for x in steps)
        others.set_state(envs.get_state())
        for action in ACTIONS:
            np.testing.assert_equal(others.step(action), envs.step(action))


def test_workers_and_this_process_give_the_same(task):
    results = []
    for workers in (0, 2):
        with make_vector_env(task, num_envs=3, seed=1, workers=workers, episode_steps=9) as envs:
            results.append([envs.step(action) for action in ACTIONS])
    np.testing.assert_equal(*results)


def test_a_file_that_makes_one(tmp_path):
    (tmp_path / "mine.py").write_text("from functional_target import Target as make\n")
    task = f"{tmp_path / 'mine.py'}:make"
    with pytest.raises(ValueError, match="a stored name runs none"):
        make_functional_env(task, num_envs=2)
    gpld.register(task)
    assert make_functional_env(task, num_envs=2, kwargs={"size": 3}).spec == Target(3).spec
    with make_vector_env(task, num_envs=2, seed=0, backend="mjx") as envs:
        assert envs.step(envs.no_action()).is_first.all()


def test_it_is_made_once_in_a_process():
    made = []

    def make(size):
        made.append(size)
        return Target(size)

    gpld.register("mine", make)
    for size in (3, 3, 4):
        with make_vector_env("mine", num_envs=2, seed=0, kwargs={"size": size}) as envs:
            envs.step(envs.no_action())
    assert made == [3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"observations": "pixels"},
            "there are no pictures of environments in JAX but what they obs",
        ),
        ({"image_size": 32}, "`env.image_size` must be None for this environment in JAX, got 32"),
    ],
)
def test_options_that_are_not_possible(task, options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        make_env(task, seed=0, **options)


def test_an_environment_has_one_time_limit():
    class Limited(Target):
        def __init__(self):
            super().__init__()
            self.spec = self.spec._replace(episode_steps=30, action_repeat=2)

    gpld.register("limited", Limited)
    assert make_env("limited", seed=0, action_repeat=2).spec == Limited().spec
    with pytest.raises(
        UsageError, match=r"`env\.episode_steps` must be None .* time limit of 30, got 3"
    ):
        make_env("limited", seed=0, action_repeat=2, episode_steps=3)
    with pytest.raises(UsageError, match=r"`env\.action_repeat` must be 2 for this .* got 3"):
        make_env("limited", seed=0, action_repeat=3)


def test_staggered_episodes_need_a_time_limit(task):
    with pytest.raises(UsageError, match=r"`env\.stagger` must be False .* `--env\.episode_steps`"):
        make_functional_env(task, num_envs=2, stagger=True)
    assert make_functional_env(task, num_envs=2, stagger=True, episode_steps=4).num_envs == 2


def test_what_is_not_in_jax_is_refused():
    gpld.register("mine", Memory)
    with pytest.raises(UsageError, match=r"`env\.backend` must be auto or dmc for mine: it is not"):
        make_functional_env("mine", num_envs=2)


def no_timestep(env):
    env.reset = lambda key: key


def another_dtype(env):
    env.spec = env.spec._replace(observation={"place": gpld.envs.ArraySpec((), np.dtype("f4"))})


def another_name(env):
    env.spec = env.spec._replace(observation={"there": env.spec.observation["place"]})


def other_states(env):
    step = env.step
    env.step = lambda *args: step(*args)._replace(place=jnp.zeros(2))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (no_timestep, "`reset` must return a state whose attribute `timestep` is a gpld.envs.Time"),
        (another_dtype, "The time step of `reset` must be what its `spec` says: observation.place"),
        (another_name, "The time step of `reset` must be what its `spec` says: observation."),
        (other_states, "`step` must return states like those of `reset`: place must have shape"),
    ],
)
def test_mistakes_are_named_in_one_line(mistake, message):
    def make():
        env = Target()
        mistake(env)
        return env

    gpld.register("wrong", make)
    with pytest.raises(UsageError) as error:
        make_env("wrong", seed=0)
    assert str(error.value).startswith("The task wrong is not possible: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", own.FUNCTIONAL)
def test_an_extra_that_is_missing_is_named_with_the_command(source, monkeypatch):
    package = {"playground": "mujoco_playground"}.get(source, source)
    monkeypatch.delitem(sys.modules, f"gpld.envs.adapters.{own.FUNCTIONAL[source]}", False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"package {package}.*: `pip install 'gpld\[{source}\]'`"):
        make_env(f"{source}:Something", seed=0)


def test_names_of_sources_run_no_code_of_the_user():
    assert not own.runs_code("gymnax:CartPole-v1")
    assert not own.runs_code("playground:CartpoleBalance")
    assert own.runs_code("gymnax_of_mine:make")
    gpld.register("gymnaxx:CartPole-v1")
    with pytest.raises(ValueError, match="did you mean gymnax:CartPole-v1"):
        own.own_factory("gymnaxx:CartPole-v1", {}, observations="vectors")
