"""Initial states against thousands of dm_control's."""

import jax
import jax.numpy as jnp
import jax.random as jr
import mujoco
import numpy as np
import pytest
from dmc_targets import read_target
from scipy import stats

from gpld.envs.dmc.env import DMControl
from gpld.envs.mjx.model import load_model
from gpld.envs.mjx.simulation import Simulation
from gpld.envs.mjx.starts import _DOMAINS, drawing, lift
from gpld.envs.rewards import COVERED
from gpld.suite import TASKS

# One task for each way of drawing, and how many are drawn here and there.
QUICK = {
    "acrobot_swingup": 2000,
    "cartpole_balance": 2000,
    "cartpole_swingup": 2000,
    "fish_swim": 2000,
    "pendulum_swingup": 2000,
    "reacher_easy": 2000,
    "walker_walk": 2000,
}
SLOW = {
    "ball_in_cup_catch": 1000,
    "finger_spin": 1000,
    "finger_turn_easy": 1000,
    "hopper_hop": 2000,
    "point_mass_easy": 2000,
    "point_mass_hard": 2000,
    "swimmer_swimmer6": 1000,
}
EXHAUSTIVE = {"cheetah_run": 100, "humanoid_walk": 300, "quadruped_walk": 300}
# In a right implementation, the smallest of about 300 p-values is below it once in 300 seeds;
# these seeds are fixed.
SMALLEST_P = 1e-5


def drawn_by_dm_control(task: str, count: int, simulation: Simulation) -> np.ndarray:
    env = DMControl(task, seed=1)
    physics, rows = env._env.physics, []
    env._env.task.get_observation = lambda physics: {}  # which would take as long
    for _ in range(count):
        env._env.reset()
        target = read_target(simulation.target, physics.model.ptr)
        rows.append(np.r_[physics.data.qpos, physics.data.qvel, target])
    return np.array(rows)


def drawn_here(count: int, simulation: Simulation) -> np.ndarray:
    draw = jax.jit(jax.vmap(drawing(simulation)))
    state = draw(jr.split(jr.key(2), count))
    return np.concatenate([state.qpos, state.qvel, state.target], axis=1)


def num_beyond(x, other):
    """How many are beyond all others, on the side with more of them; rounding aside."""
    return max(np.sum(x < other.min() - 1e-6), np.sum(x > other.max() + 1e-6))


@pytest.mark.parametrize(
    ("task", "count"),
    [
        *QUICK.items(),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in SLOW.items()),
        *(pytest.param(*item, marks=pytest.mark.exhaustive) for item in EXHAUSTIVE.items()),
    ],
)
def test_distribution(task, count):
    simulation = Simulation(load_model(task, 1))
    mine, theirs = drawn_here(count, simulation), drawn_by_dm_control(task, count, simulation)
    assert mine.shape == theirs.shape
    constant = np.ptp(theirs, axis=0) < 1e-12
    np.testing.assert_allclose(mine[:, constant], theirs[:, constant], atol=1e-6)
    assert not np.any(np.ptp(mine[:, ~constant], axis=0) < 1e-9)
    for i in np.flatnonzero(~constant):
        assert stats.ks_2samp(mine[:, i], theirs[:, i]).pvalue > SMALLEST_P, i
        # Ranges: of equal distributions, the next extreme value is from here or there by halves.
        beyond = max(num_beyond(mine[:, i], theirs[:, i]), num_beyond(theirs[:, i], mine[:, i]))
        assert 0.5**beyond > SMALLEST_P, i
    # Also how entries depend on each other: distances from the mean in a common basis.
    moving, center = ~constant, theirs.mean(axis=0)
    projections = np.random.default_rng(0).normal(size=(np.sum(moving), 20))
    spread = theirs[:, moving].std(axis=0)
    for direction in projections.T:
        a, b = (((x - center)[:, moving] / spread) @ direction for x in (mine, theirs))
        assert stats.ks_2samp(a, b).pvalue > SMALLEST_P
        assert stats.ks_2samp(a**2, b**2).pvalue > SMALLEST_P


@pytest.mark.parametrize("task", ["ball_in_cup_catch", "finger_turn_easy"])
def test_nothing_touches(task):
    simulation = Simulation(load_model(task, 1))
    states = jax.jit(jax.vmap(drawing(simulation)))(jr.split(jr.key(3), 500))
    model = simulation.task.model
    data = mujoco.MjData(model)
    for qpos in np.asarray(states.qpos, float):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        # Rounded to float32, what nearly touches may do so.
        assert all(contact.dist > -1e-6 for contact in data.contact)


@pytest.mark.slow
def test_the_height_of_the_quadruped_equals_the_search_of_dm_control(x64):
    simulation = Simulation(load_model("quadruped_walk", 1))
    place = jax.jit(lambda orientation: lift(simulation, orientation))
    env = DMControl("quadruped_walk", seed=0)
    for _ in range(100):
        random = env._env.task.random.get_state()
        env._env.reset()
        env._env.task.random.set_state(random)
        orientation = env._env.task.random.randn(4)
        expected = env._env.physics.data.qpos
        mine = place(orientation)
        assert mine[2] == expected[2]
        np.testing.assert_allclose(mine, expected, atol=1e-15)


@pytest.mark.slow
def test_the_fall_of_the_cheetah_equals_dm_control(x64):
    """The same joints fall to the same place, dm_control's first step included."""
    task = load_model("cheetah_run", 1)
    simulation = Simulation(task)
    limited = np.flatnonzero(task.model.jnt_limited)
    low, high = task.model.jnt_range[limited].T
    states = jax.jit(jax.vmap(drawing(simulation)))(jr.split(jr.key(0), 4))
    env = DMControl("cheetah_run", seed=0)._env
    for i, key in enumerate(jr.split(jr.key(0), 4)):
        joints = np.asarray(jr.uniform(key, low.shape, float, jnp.asarray(low), jnp.asarray(high)))
        env.task._random = type("Known", (), {"uniform": staticmethod(lambda *_, x=joints: x)})
        env.reset()
        np.testing.assert_allclose(states.qpos[i], env.physics.data.qpos, atol=1e-8)
        np.testing.assert_allclose(states.qvel[i], env.physics.data.qvel, atol=1e-6)


def test_all_tasks_that_mjx_simulates_have_a_start():
    assert {TASKS[task][0] for task in COVERED} == set(_DOMAINS)
