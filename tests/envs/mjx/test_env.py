"""Episodes of MJX's environments, and what a group and a picture need of them."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.envs import FunctionalEnv, make_vector_env
from gpld.envs.dmc.env import DMControl
from gpld.envs.functional.auto_reset import AutoReset
from gpld.envs.mjx import MJXEnv
from gpld.errors import MachineError

TASK = "pendulum_swingup"


@pytest.fixture(scope="module")
def env():
    return MJXEnv(TASK, action_repeat=3)


@pytest.fixture(scope="module")
def functions(env):
    return jax.jit(env.reset), jax.jit(env.step)


def test_spec_is_that_of_dm_control(env):
    assert env.spec == DMControl(TASK, action_repeat=3, seed=0).spec
    assert isinstance(env, FunctionalEnv)


def test_an_episode_equals_dm_control(env, functions):
    """Flags and lengths over a whole episode whose last step is cut short: 1000 = 333 * 3 + 1."""
    reset, step = functions
    state = reset(jr.key(0))
    dmc = DMControl(TASK, action_repeat=3, seed=0)
    dmc.reset()
    physics = dmc._env.physics
    with physics.reset_context():
        physics.data.qpos[:] = np.asarray(state.simulation.qpos)
    assert state.timestep.is_first
    assert state.timestep.reward == 0
    total, expected_total = 0.0, 0.0
    for i, action in enumerate(np.random.default_rng(0).uniform(-2, 2, (334, 1))):
        action = action.astype(np.float32)
        state, expected = step(state, action), dmc.step(action)
        flags = [bool(flag) for flag in state.timestep[2:]]
        assert flags == [bool(flag) for flag in expected[2:]] == [False, i == 333, False]
        if i < 60:  # afterwards rounding has grown too far
            for key, value in expected.observation.items():
                np.testing.assert_allclose(state.timestep.observation[key], value, atol=1e-4)
        total, expected_total = total + state.timestep.reward, expected_total + expected.reward
    assert state.elapsed == 1000


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 1e12])
def test_divergence_truncates_the_episode(functions, spoilt):
    reset, step = functions
    state = step(reset(jr.key(0)), jnp.zeros(1))
    before = state.timestep.observation
    simulation = state.simulation._replace(qvel=jnp.full(1, spoilt))
    after = step(state._replace(simulation=simulation), jnp.zeros(1)).timestep
    jax.tree.map(np.testing.assert_array_equal, after.observation, before)
    assert [float(x) for x in after[1:]] == [0, 0, 1, 0]


def test_an_action_that_is_not_finite_truncates_the_episode(functions):
    reset, step = functions
    assert step(reset(jr.key(0)), jnp.full(1, jnp.nan)).timestep.is_last


def test_actions_are_clipped(functions):
    reset, step = functions
    state = reset(jr.key(0))
    wild, tame = step(state, jnp.full(1, 3.0)), step(state, jnp.ones(1))
    jax.tree.map(np.testing.assert_array_equal, wild, tame)


def test_controls_span_the_limits_of_the_actuators():
    env, dmc = MJXEnv("quadruped_walk"), DMControl("quadruped_walk", seed=0)
    low, high = dmc._env.physics.model.actuator_ctrlrange.T
    for action, expected in [(-1, low), (0, (low + high) / 2), (1, high), (5, high)]:
        np.testing.assert_allclose(env.control(jnp.full(12, float(action))), expected, rtol=1e-6)


@pytest.mark.slow
def test_the_state_is_small(functions):
    reset, _ = functions
    state = reset(jr.key(0))
    assert sum(array.nbytes for array in jax.tree.leaves(state)) < 60
    shapes = jax.eval_shape(MJXEnv("quadruped_run").reset, jr.key(0))  # observation included
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes)) == 639


@pytest.mark.slow
def test_bookkeeping_equals_a_slow_loop(env, functions):
    """Environments out of phase, among them one whose physics diverges."""
    reset, step = functions
    envs = AutoReset(env, 3, stagger=True)
    state, step_all = jax.jit(envs.init)(key := jr.key(1)), jax.jit(envs.step)
    keys, states = list(jr.split(jr.split(key)[0], 3)), [None] * 3
    left = np.array(state.left)
    for i, action in enumerate(jr.uniform(jr.key(2), (700, 3, 1), minval=-1)):
        if i == 50:
            action = action.at[1].set(jnp.nan)
        state, timestep = step_all(state, action)
        for j, single in enumerate(states):
            if single is None:
                keys[j], reset_key = jr.split(keys[j])
                single = reset(reset_key)
            else:
                single, left[j] = step(single, action[j]), left[j] - 1
            last = bool(single.timestep.is_last) or left[j] == 0
            expected = single.timestep._replace(is_last=np.array(last))
            mine = jax.tree.map(lambda x: x[j], timestep)  # noqa: B023
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), mine, expected)
            states[j], left[j] = (None, 334) if last else (single, left[j])


@pytest.mark.slow
def test_the_group_is_a_vector_environment_whose_state_can_be_set():
    make = functools.partial(make_vector_env, TASK, num_envs=2, action_repeat=100, backend="mjx")
    with make(seed=0) as envs:
        first = [envs.step(np.zeros((2, 1), np.float32)) for _ in range(4)]
        assert [step.is_first.all() for step in first] == [True, False, False, False]
        assert not np.array_equal(*first[0].observation["orientation"])
        saved = envs.get_state()
        action = np.array([[0.5], [-0.5]], np.float32)
        rest = [envs.step(action) for _ in range(9)]
        assert [step.is_last.all() for step in rest] == 6 * [False] + [True, False, False]
        assert rest[7].is_first.all()
        with make(seed=1) as others:
            others.set_state(saved)
            for step in rest:
                np.testing.assert_equal(others.step(action)._asdict(), step._asdict())
            wrong = {**saved, "envs": {"0": {}, "1": {}}}
            with pytest.raises(ValueError, match="`states` must be those of this task"):
                others.set_state(wrong)
        with pytest.raises(ValueError, match="`action` must be finite"):
            envs.step(np.array([[0], [np.nan]], np.float32))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`task` must be one of .*; got 'dog_run'"):
        MJXEnv("dog_run")
    with pytest.raises(ValueError, match="`action_repeat` must be at least 1, got 0"):
        MJXEnv(TASK, action_repeat=0)
    with pytest.raises(ValueError, match="`max_envs` must be at least 1, got 0"):
        MJXEnv(TASK, max_envs=0)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="Warp may run")
def test_warp_says_what_it_needs():
    with pytest.raises(MachineError, match=r"needs Warp: `pip install 'gpld\[warp\]'`|NVIDIA GPU"):
        MJXEnv(TASK, impl="warp")


def test_no_other_engine_imports_mjx_and_mjx_prints_nothing():
    code = """
import sys
import gpld, gpld.envs
from gpld.envs import make_vector_env
from gpld.envs.vector.batch import BatchGroup
make_vector_env("cartpole_balance", num_envs=1, seed=0).close()
BatchGroup("cartpole_balance", [0], action_repeat=1).close()
assert not [name for name in sys.modules if name.startswith("mujoco.mjx")]
import gpld.envs.mjx
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
