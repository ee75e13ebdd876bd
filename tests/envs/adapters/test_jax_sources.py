"""Environments of gymnax and MuJoCo Playground, theirs and ours side by side."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.envs import ArraySpec, make_env, make_functional_env, make_vector_env
from gpld.errors import UsageError

pytestmark = pytest.mark.exhaustive


@pytest.fixture(autouse=True)
def as_in_a_run():
    """They are not written for the checks that our tests turn on."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        yield


def actions(spec, rng):
    if spec.discrete:
        return jnp.int32(rng.integers(spec.action_size))
    return jnp.asarray(rng.uniform(-1.2, 1.2, spec.action_size), jnp.float32)


@pytest.mark.parametrize(
    ("name", "scale"), [("CartPole-v1", None), ("Pendulum-v1", 2.0), ("Catch-bsuite", None)]
)
def test_gymnax_step_by_step(name, scale):
    gymnax = pytest.importorskip("gymnax")
    theirs, params = gymnax.make(name)
    ours = make_functional_env(f"gymnax:{name}", num_envs=1)._env
    limit = params.max_steps_in_episode
    assert ours.spec.episode_steps == limit
    rng, step = np.random.default_rng(0), jax.jit(ours.step)
    terminal = truncated = 0
    for seed in range(5):
        state = ours.reset(jr.key(seed))
        _, reset_key = jr.split(jr.key(seed))
        observation, _ = theirs.reset_env(reset_key, params)
        for elapsed in range(1, limit + 1):
            actual = state.timestep.observation["observation"]
            expected = np.reshape(observation, actual.shape)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
            action, old = actions(ours.spec, rng), state.env
            state = step(state, action)
            _, step_key = jr.split(old.key)
            scaled = action if scale is None else scale * jnp.clip(action, -1, 1)
            # From where ours is: rounding that compiling changes would grow in a pendulum.
            observation, _, reward, terminated, _ = theirs.step_env(
                step_key, old.env, scaled, params
            )
            np.testing.assert_allclose(state.timestep.reward, reward, rtol=1e-4, atol=1e-4)
            assert bool(state.timestep.is_terminal) == bool(terminated)
            assert bool(state.timestep.is_last) == (bool(terminated) or elapsed == limit)
            if terminated:
                terminal += 1
                break
        else:
            truncated += 1
    assert (terminal, truncated) == ((0, 5) if name == "Pendulum-v1" else (5, 0))


def test_gymnax_settings_and_spaces():
    env = make_env("gymnax:CartPole-v1", seed=0, kwargs={"max_steps_in_episode": 4, "gravity": 1.0})
    assert env.spec.episode_steps == 4
    assert env.spec.observation == {"observation": ArraySpec((4,), np.dtype(np.float32))}
    env.reset()
    steps = [env.step(np.int32(i % 2)) for i in range(4)]
    assert [bool(x.is_last) for x in steps] == [False, False, False, True]
    assert not steps[-1].is_terminal
    with pytest.raises(UsageError, match=r"`env\.kwargs` must be parameters of CartPole-v1 \(max_"):
        make_env("gymnax:CartPole-v1", seed=0, kwargs={"gravitas": 1.0})
    with pytest.raises(ValueError, match=r"Gymnax knows, .* did you mean gymnax:CartPole-v1"):
        make_env("gymnax:CartPole-v3", seed=0)


@pytest.mark.parametrize("name", ["CartPole-v1", "Breakout-MinAtar", "FrozenLake-misc"])
def test_gymnax_goes_on_in_mid_episode(name):
    options = {"num_envs": 2, "backend": "mjx", "action_repeat": 2}
    with (
        make_vector_env(f"gymnax:{name}", seed=0, **options) as envs,
        make_vector_env(f"gymnax:{name}", seed=1, **options) as others,
    ):
        for _ in range(9):
            envs.step(envs.no_action())
        others.set_state(envs.get_state())
        for _ in range(20):
            action = envs.no_action() + 1
            np.testing.assert_equal(others.step(action), envs.step(action))


def test_playground_step_by_step():
    """A cartpole, in which nothing terminates, and whose time limit is shortened."""
    dm_control_suite = pytest.importorskip("mujoco_playground").dm_control_suite
    kwargs = {"episode_length": 6}
    task = "CartpoleBalance"
    theirs = dm_control_suite.load(task, config_overrides={"impl": "jax"})
    ours = make_functional_env(f"playground:{task}", num_envs=1, kwargs=kwargs)._env
    assert ours.spec.episode_steps == 6
    rng, step, their_step = np.random.default_rng(0), jax.jit(ours.step), jax.jit(theirs.step)
    state, own = jax.jit(ours.reset)(jr.key(0)), jax.jit(theirs.reset)(jr.key(0))
    assert state.timestep.is_first
    for elapsed in range(1, 7):
        actual = state.timestep.observation["observation"]
        np.testing.assert_allclose(actual, own.obs, rtol=1e-4, atol=1e-5)
        action = actions(ours.spec, rng)
        state, own = step(state, action), their_step(own, jnp.clip(action, -1, 1))
        np.testing.assert_allclose(state.timestep.reward, own.reward, rtol=1e-4)
        assert bool(state.timestep.is_last) == (elapsed == 6)
        assert not state.timestep.is_terminal
    with pytest.raises(UsageError, match=r"`env\.kwargs` must be settings of CartpoleBalance \("):
        make_env(f"playground:{task}", seed=0, kwargs={"gravitas": 1.0})
    with pytest.raises(ValueError, match=r"did you mean playground:CartpoleBalance"):
        make_env("playground:CartpolBalance", seed=0)
