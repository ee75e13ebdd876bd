"""MJX against dm_control, from the same states and with the same controls.

Stretches of ten control steps are cut from an episode of dm_control with its legacy step, and
repeated by MJX from their first states. Tasks that share a model share a program: they differ in
what is made of the arrays that it returns.

What is rounded in every step of the simulator may grow: a cartpole that reaches the end of its
rail a moment later is elsewhere ten steps on. How much it grows is seen in dm_control itself, in
twins of a stretch whose states and forces are off by some units of the last place at each of these
steps, those of inertia included. A backward stable computation is such a twin. What MJX is off by
may be as much as that, in this stretch, where it is more than the bound.
"""

import itertools
from typing import NamedTuple

import jax
import mujoco
import numpy as np
import pytest
from dmc_targets import read_target

from gpld.envs.dmc.env import DMControl
from gpld.envs.mjx.model import load_model
from gpld.envs.mjx.simulation import Simulation, SimulationState
from gpld.envs.rewards import COVERED, make_task
from gpld.xla.choices import made_for

# Stretches of a task, and of another whose program is the same; control steps of each.
NUM_STARTS, NUM_OTHER_STARTS, NUM_STEPS = 24, 6, 10

# The tasks of a model, the first of which gives it.
QUICK = {"pendulum_swingup": ()}
SLOW = {
    "acrobot_swingup": ("acrobot_swingup_sparse",),
    "ball_in_cup_catch": (),
    "cartpole_swingup": ("cartpole_swingup_sparse", "cartpole_balance", "cartpole_balance_sparse"),
    "cartpole_three_poles": (),
    "cartpole_two_poles": (),
    "cheetah_run": (),
    "finger_spin": (),
    "finger_turn_easy": ("finger_turn_hard",),
    "fish_swim": ("fish_upright",),
    "hopper_hop": ("hopper_stand",),
    "humanoid_walk": ("humanoid_stand", "humanoid_run", "humanoid_run_pure_state"),
    "point_mass_easy": (),
    "point_mass_hard": (),
    "quadruped_walk": ("quadruped_run",),
    "reacher_easy": ("reacher_hard",),
    "swimmer_swimmer6": (),
    "swimmer_swimmer15": (),
    "walker_walk": ("walker_stand", "walker_run"),
}


# With contacts, a tendon, a fluid, sensors: what runs with all tests. Each takes a minute.
SLOW_KEPT = {
    ("ball_in_cup_catch", "float64", "cpu"),
    ("cartpole_swingup", "float64", "cpu"),
    ("cartpole_swingup", "float32", "gpu"),
    ("finger_spin", "float64", "cpu"),
    ("fish_swim", "float64", "cpu"),
    ("walker_walk", "float64", "gpu"),
}


class Bound(NamedTuple):
    """Largest absolute errors of entries of observations, and of rewards."""

    observation: float
    reward: float


# After a reset (relative where an entry is larger than 1), after one control step, and after ten.
BOUNDS = {
    "float64": (Bound(1e-12, 0), Bound(1e-10, 1e-10), Bound(1e-9, 1e-9)),
    "float32": (Bound(1e-6, 0), Bound(2e-4, 1e-5), Bound(5e-4, 1e-3)),
}
# What the quadruped feels in free fall is 0, as a difference of what gravity alone would give.
SCALES = {"force_torque": 9.81, "imu": 9.81}
QUADRUPED = (*BOUNDS["float32"][:2], Bound(1e-2, 1e-3))  # in float32

# How many twins a stretch has, by how many units of the last place their states and forces are
# off, and how much of the most that comes of it is allowed.
NUM_TWINS, NUM_ULPS, ALLOWED = 6, 4, 2

# In float64, of both solvers of constraints, so that they stop where rounding stops them. With 0
# MJX's would go on to its last iteration, for nothing.
TOLERANCE = 1e-14


class Recording(NamedTuple):
    """Stretches of an episode of dm_control; arrays lead with starts, then steps.

    The first observations are those of the starts, with rewards of 0.
    """

    states: dict[str, np.ndarray]
    controls: np.ndarray
    observations: dict[str, np.ndarray]
    rewards: np.ndarray
    warmstarts: np.ndarray
    """Where the solver of constraints begins the next step."""

    spread: Bound
    """Arrays of the most that a twin is off by, up to each step."""


def record(task: str, simulation: Simulation, num_starts: int) -> Recording:
    dtype = simulation.dtype
    env, twin = (DMControl(task, action_repeat=1, seed=3) for _ in range(2))
    for each in (env, twin):
        each.reset()
        each._env.physics.model.opt.tolerance = simulation.task.model.opt.tolerance
    physics, rng = env._env.physics, np.random.default_rng(0)
    shape = (num_starts, NUM_STEPS, env.spec.action_size)
    fractions = np.where(rng.random(shape) < 0.5, rng.random(shape), rng.integers(0, 2, shape))
    controls = (fractions * (env._high - env._low) + env._low).astype(dtype)
    rows = []
    for stretch in controls:
        # Numbers that both can represent.
        with physics.model.disable("actuation"):
            for array in (physics.data.qpos, physics.data.qvel, physics.data.act):
                array[:] = array.astype(dtype)
            physics.forward()
        state = {
            name: getattr(physics.data, name).astype(dtype)
            for name in ("qpos", "qvel", "act", "qacc_warmstart")
        }
        state["target"] = read_target(simulation.target, physics.model.ptr).astype(dtype)
        start, spread = env.get_state(), []
        observations, rewards, warmstarts = play(env, stretch)
        for _ in range(NUM_TWINS):
            twin.set_state(start)
            others, gains = play_roughly(twin, stretch, NUM_ULPS * np.finfo(dtype).eps, rng)
            spread.append((distance(others, observations, 1), abs(gains - rewards)))
        spread = np.maximum.accumulate(np.max(spread, axis=0), axis=-1)
        rows.append((state, observations, rewards, warmstarts, spread))
    states, observations, rewards, warmstarts, spread = zip(*rows, strict=True)
    return Recording(
        stacked(states),
        controls,
        stacked(observations),
        np.stack(rewards),
        np.stack(warmstarts),
        Bound(*np.stack(spread, axis=1)),
    )


def play(env: DMControl, controls):
    """Observations now and after each control step, rewards, and where solvers begin."""
    inner, rewards, warmstarts = env._env, [0.0], []
    observations = [renamed(inner.task.get_observation(inner.physics))]
    for control in controls:
        step = inner.step(control.astype(float))
        observations.append(renamed(step.observation))
        rewards.append(step.reward)
        warmstarts.append(inner.physics.data.qacc_warmstart.copy())
    return stacked(observations), np.array(rewards), np.stack(warmstarts)


def play_roughly(env: DMControl, controls, unit, rng):
    """The same, but that states and forces are off by `unit` in each step of the simulator."""
    inner, physics = env._env, env._env.physics
    model, data = physics.model.ptr, physics.data.ptr
    inertia = np.zeros((model.nv, model.nv))

    def sign(x):
        return unit * rng.choice([-1, 1], x.shape)

    def disturb():
        for x in (data.qpos, data.qvel, data.act):
            x += sign(x) * np.maximum(1, abs(x))
        mujoco.mj_fullM(model, data, inertia)
        forces = data.qfrc_bias, data.qfrc_passive, data.qfrc_actuator, data.qfrc_constraint
        forces = *forces, abs(inertia) @ abs(data.qacc)
        data.qfrc_applied[:] = sum(sign(x) * abs(x) for x in forces)

    disturb()
    with physics.model.disable("actuation"):
        physics.forward()
    observations, rewards = [renamed(inner.task.get_observation(physics))], [0.0]
    for control in controls:
        inner.task.before_step(control.astype(float), physics)
        for _ in range(inner._n_sub_steps):
            disturb()
            mujoco.mj_step(model, data)
        mujoco.mj_step1(model, data)
        inner.task.after_step(physics)
        rewards.append(inner.task.get_reward(physics))
        observations.append(renamed(inner.task.get_observation(physics)))
    data.qfrc_applied[:] = 0
    return stacked(observations), np.array(rewards)


def distance(actual, expected, leading):
    """Largest difference of an entry, along as many leading axes."""
    differences = [abs(actual[name] - value) for name, value in expected.items()]
    return np.max([x.reshape(*x.shape[:leading], -1).max(axis=-1) for x in differences], axis=0)


def renamed(observation):
    return {
        name.replace("/", "_"): np.array(value)
        for name, value in observation.items()
        if np.size(value)
    }


def stacked(rows):
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class Programs:
    """Plays stretches with MJX: one after the other, and a control step a call.

    For many at once, the loops of the solver would all run as long as the longest may; and what
    is compiled in one piece takes twice as long to compile as in two.
    """

    def __init__(self, simulation: Simulation):
        self._look, self._step = jax.jit(simulation.look), jax.jit(simulation.step)

    def __call__(self, states: SimulationState, controls):
        """Physics before and after each control step, and where solvers begin the next one."""
        warmstarts, physics = [], []
        for start, stretch in enumerate(controls):
            state = jax.tree.map(lambda x, start=start: x[start], states)
            physics.append(self._look(state))
            for control in stretch:
                state, seen = self._step(state, control)
                warmstarts.append(state.qacc_warmstart)
                physics.append(seen)
        return self._gathered(warmstarts, controls), self._gathered(physics, controls)

    def _gathered(self, rows, controls):
        leading = len(controls), len(rows) // len(controls)
        return jax.tree.map(lambda *x: np.stack(x).reshape(*leading, *x[0].shape), *rows)


def compare(name: str, simulation: Simulation, run: Programs, num_starts: int):
    """Relative errors after a reset; by start and step, those of MJX and of the worst twin."""
    dtype = simulation.dtype.name
    recording = record(name, simulation, num_starts)
    warmstarts, physics = run(SimulationState(**recording.states), recording.controls)
    task = make_task(name, load_model(name, 1).model)
    assert set(task.observe(physics)) == set(recording.observations)
    rewards = np.array(task.reward(physics))
    rewards[:, 0] = 0
    if dtype == "float64":
        # Accelerations relative to the largest; else a wrong one would only cost iterations.
        scale = abs(recording.warmstarts[:, 0]).max() or 1
        error = abs(warmstarts[:, 0] - recording.warmstarts[:, 0]).max() / scale
        assert error <= 1e-9, (name, "qacc_warmstart", error)
    errors = Bound(
        distance(task.observe(physics), recording.observations, 2),
        abs(rewards - recording.rewards),
    )
    # The first start is that of the episode.
    observed = [
        (np.asarray(value)[0, 0], recording.observations[key][0, 0], SCALES.get(key, 1))
        for key, value in task.observe(physics).items()
    ]
    reset = max(np.max(abs(x - y) / np.maximum(scale, abs(y))) for x, y, scale in observed)
    return reset, errors, recording.spread


def check(leader: str, others: tuple[str, ...], dtype: str):
    loaded = load_model(leader, 1)
    if dtype == "float64":
        loaded.model.opt.tolerance = TOLERANCE
    simulation = Simulation(loaded)
    assert simulation.dtype == dtype
    run = Programs(simulation)
    bounds = BOUNDS[dtype]
    if leader.startswith("quadruped") and dtype == "float32":
        bounds = QUADRUPED
    for name in (leader, *others):
        num_starts = NUM_STARTS if name == leader else NUM_OTHER_STARTS
        reset, errors, spread = compare(name, simulation, run, num_starts)
        assert reset <= bounds[0].observation, (name, reset)
        for count, bound in zip((1, 2, NUM_STEPS + 1), bounds, strict=True):
            for error, grown, most in zip(errors, spread, bound, strict=True):
                allowed = np.maximum(most, ALLOWED * grown[:, :count])
                excess = error[:, :count] - allowed
                worst = np.unravel_index(np.argmax(excess), excess.shape)
                assert excess[worst] <= 0, (name, count - 1, error[worst], allowed[worst])


def cases():
    """Models, precisions and platforms: the fast model, and of the others those of `SLOW_KEPT`.

    Each other case, such as float32 of a slow model, is made with the tests marked exhaustive. As
    for a GPU is how systems of equations are solved, here on a CPU.
    """
    for dtype, made_as_for in itertools.product(("float64", "float32"), ("cpu", "gpu")):
        for item in QUICK.items():
            yield pytest.param(*item, dtype, made_as_for)
        for item in SLOW.items():
            kept = (item[0], dtype, made_as_for) in SLOW_KEPT
            mark = pytest.mark.slow if kept else pytest.mark.exhaustive
            yield pytest.param(*item, dtype, made_as_for, marks=mark)


@pytest.mark.parametrize(("leader", "others", "dtype", "made_as_for"), list(cases()))
def test_equals_dm_control(leader, others, dtype, made_as_for):
    with jax.enable_x64(dtype == "float64"), made_for(made_as_for):
        check(leader, others, dtype)


def test_every_task_is_compared():
    assert {name for name, *_ in SLOW_KEPT} <= SLOW.keys()
    named = [name for item in {**QUICK, **SLOW}.items() for name in (item[0], *item[1])]
    assert sorted(named) == sorted(COVERED)
