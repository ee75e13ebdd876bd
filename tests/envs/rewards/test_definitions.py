"""Observations and rewards of `gpld.envs.rewards` against those of dm_control."""

import functools

import jax
import mujoco
import numpy as np
import pytest
from dm_control import suite

from gpld.envs.rewards import COVERED, Physics, make_task
from gpld.suite import TASKS

# Rewards that are 0 or 1.
SPARSE = {
    "acrobot_swingup_sparse",
    "ball_in_cup_catch",
    "cartpole_balance_sparse",
    "cartpole_swingup_sparse",
    "finger_spin",
    "finger_turn_easy",
    "finger_turn_hard",
    "pendulum_swingup",
    "reacher_easy",
    "reacher_hard",
}
NUM_STATES = 256


def physics_of(data):
    """What tasks look at, of one simulation of MuJoCo."""
    arrays = {
        name: np.array(getattr(data, name))
        for name in Physics._fields
        if name not in ("xmat", "geom_xmat")
    }
    return Physics(
        xmat=np.array(data.xmat).reshape(-1, 3, 3),
        geom_xmat=np.array(data.geom_xmat).reshape(-1, 3, 3),
        **arrays,
    )


@functools.cache
def synthetic(name):
    """States of all kinds, and what dm_control makes of them.

    Near the initial state and far away from it, at rest and fast, with targets of several
    episodes that are now and then moved to where they are reached.
    """
    env = suite.load(*TASKS[name], task_kwargs={"random": 0})
    physics, task = env.physics, env.task
    rng = np.random.default_rng(0)
    states, observations, rewards = [], [], []
    for index in range(NUM_STATES):
        if index % 32 == 0:
            env.reset()
            upright = physics.model.ptr.qpos0.copy()
            if name.startswith("cartpole"):
                upright[1:] = 0
            drawn = physics.data.qpos.copy()
        near = drawn if index % 4 == 0 else upright
        scale = rng.choice([0, 0.003, 0.1, 1, 4])
        speed = rng.choice([0, 0.1, 1, 10])
        physics.data.qpos[:] = near + scale * rng.normal(size=near.size)
        physics.data.qvel[:] = speed * rng.normal(size=physics.model.nv)
        physics.data.act[:] = rng.normal(size=physics.model.na)
        physics.data.ctrl[:] = rng.uniform(-1.5, 1.5, physics.model.nu)
        with physics.suppress_physics_errors():
            physics.forward()
        if index % 3 == 0:
            reach_target(name, physics, rng)
        states.append(physics_of(physics.data))
        rewards.append(np.float64(task.get_reward(physics)))
        observations.append(
            {
                key.replace("/", "_"): np.array(value, np.float64)
                for key, value in task.get_observation(physics).items()
            }
        )
    stacked = Physics(*map(np.stack, zip(*states, strict=True)))
    keys = sorted(observations[0])
    expected = {key: np.stack([obs[key] for obs in observations]) for key in keys}
    return make_task(name, physics.model.ptr), stacked, expected, np.array(rewards)


def reach_target(name, physics, rng):
    """Moves the target, or what should reach it, to within about the radius of the target."""
    data, offset = physics.data.ptr, 0.05 * rng.normal(size=3)
    if name.startswith(("reacher", "swimmer", "fish_swim", "point_mass")):
        part = {"r": "finger", "s": "nose", "f": "mouth", "p": "pointmass"}[name[0]]
        data.geom("target").xpos[:] = data.geom(part).xpos + offset
    if name.startswith("finger_turn"):
        data.sensor("target").data[:] = data.sensor("tip").data + offset
    if name.startswith("ball"):
        data.site("target").xpos[:] = data.body("ball").xpos + offset
    if name.startswith("finger_spin"):
        data.sensor("hinge_velocity").data[:] = rng.choice([-15.0, -14.9, -20.0])
    if name.startswith("acrobot"):
        data.site("target").xpos[:] = data.site("tip").xpos + 4 * offset


@pytest.mark.parametrize("name", COVERED)
def test_equal_to_dm_control_bit_for_bit(name):
    task, physics, observations, rewards = synthetic(name)
    actual = task.observe(physics)
    assert list(actual) == list(observations)  # sorted
    for key, expected in observations.items():
        np.testing.assert_array_equal(actual[key], expected, strict=True, err_msg=key)
    np.testing.assert_array_equal(task.reward(physics), rewards, strict=True)
    if name in SPARSE:
        assert set(rewards) == {0, 1}
    else:
        assert len(set(rewards)) > NUM_STATES / 8


@pytest.mark.parametrize("name", COVERED)
def test_the_same_traced_by_jax(name, x64):
    task, physics, *_ = synthetic(name)
    observation, reward = jax.jit(jax.vmap(lambda p: (task.observe(p), task.reward(p))))(physics)
    # Sums of products in another order: rounding of numbers up to about 1e4.
    for key, expected in task.observe(physics).items():
        np.testing.assert_allclose(observation[key], expected, 1e-12, 1e-12)
    np.testing.assert_allclose(reward, task.reward(physics), 1e-12, 1e-12)


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_is_that_of_the_physics(name, dtype, x64, strict_promotion):
    task, physics, *_ = synthetic(name)
    shapes = Physics(*(jax.ShapeDtypeStruct(array.shape, dtype) for array in physics))
    observation, reward = jax.eval_shape(lambda p: (task.observe(p), task.reward(p)), shapes)
    assert {array.dtype for array in (*observation.values(), reward)} == {np.dtype(dtype)}
    assert reward.shape == (NUM_STATES,)


def test_batch_axes_may_be_any():
    for name in COVERED:
        task, physics, *_ = synthetic(name)
        first = Physics(*(array[0] for array in physics))
        grid = Physics(*(array.reshape(4, 64, *array.shape[1:]) for array in physics))
        for key, expected in task.observe(physics).items():
            np.testing.assert_array_equal(task.observe(first)[key], expected[0])
            np.testing.assert_array_equal(
                task.observe(grid)[key], expected.reshape(4, 64, *expected.shape[1:])
            )
        np.testing.assert_array_equal(task.reward(first), task.reward(physics)[0])
        np.testing.assert_array_equal(task.reward(grid), task.reward(physics).reshape(4, 64))


@pytest.mark.parametrize("name", COVERED)
def test_what_is_drawn_is_known(name):
    env = suite.load(*TASKS[name], task_kwargs={"random": 0})
    model = env.physics.model.ptr
    env.reset()

    def arrays():
        return {
            key: value.copy()
            for key in dir(model)
            if not key.startswith("_") and isinstance(value := getattr(model, key), np.ndarray)
        }

    before = arrays()
    env.reset()
    changed = {key for key, value in arrays().items() if not np.array_equal(value, before[key])}
    assert changed == set(make_task(name, model).drawn)


@pytest.mark.parametrize("name", COVERED)
def test_who_reads_forces_is_known(name):
    task, physics, *_ = synthetic(name)
    model = suite.load(*TASKS[name]).physics.model.ptr
    is_force = model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC.value
    entries = np.repeat(is_force, model.sensor_dim)
    other = physics._replace(sensordata=np.where(entries, 123.0, physics.sensordata))
    same = np.array_equal(task.reward(physics), task.reward(other)) and all(
        np.array_equal(value, task.observe(other)[key])
        for key, value in task.observe(physics).items()
    )
    assert task.reads_forces == (not same)


def test_tasks_that_are_not_covered_are_refused():
    model = suite.load("quadruped", "escape").physics.model.ptr
    with pytest.raises(ValueError, match=r"`task` must be one of acrobot_swingup.*'quadruped_esc"):
        make_task("quadruped_escape", model)
