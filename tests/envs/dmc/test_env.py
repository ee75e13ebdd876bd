import subprocess
import sys

import numpy as np
import pytest
from dm_control import suite

from gpld.envs import ArraySpec
from gpld.envs.dmc.env import DMControl, convert
from gpld.suite import SHORT_NAMES, TASKS, canonical_name

FLOAT32 = np.dtype(np.float32)

ACROBOT = {"orientations": (4,), "velocity": (2,)}
CARTPOLE = {"position": (3,), "velocity": (2,)}
FINGER_SPIN = {"position": (4,), "touch": (2,), "velocity": (3,)}
FINGER_TURN = {**FINGER_SPIN, "target_position": (2,), "dist_to_target": ()}
HOPPER = {"position": (6,), "touch": (2,), "velocity": (7,)}
REACHER = {"position": (2,), "to_target": (2,), "velocity": (2,)}
WALKER = {"height": (), "orientations": (14,), "velocity": (9,)}
QUADRUPED = {
    "egocentric_state": (44,),
    "force_torque": (24,),
    "imu": (6,),
    "torso_upright": (),
    "torso_velocity": (3,),
}
BENCHMARK = {
    "acrobot_swingup": (ACROBOT, 1),
    "acrobot_swingup_sparse": (ACROBOT, 1),
    "cartpole_balance": (CARTPOLE, 1),
    "cartpole_balance_sparse": (CARTPOLE, 1),
    "cartpole_swingup": (CARTPOLE, 1),
    "cartpole_swingup_sparse": (CARTPOLE, 1),
    "cheetah_run": ({"position": (8,), "velocity": (9,)}, 6),
    "cup_catch": ({"position": (4,), "velocity": (4,)}, 2),
    "finger_spin": (FINGER_SPIN, 2),
    "finger_turn_easy": (FINGER_TURN, 2),
    "finger_turn_hard": (FINGER_TURN, 2),
    "hopper_hop": (HOPPER, 4),
    "hopper_stand": (HOPPER, 4),
    "pendulum_swingup": ({"orientation": (2,), "velocity": (1,)}, 1),
    "quadruped_run": (QUADRUPED, 12),
    "quadruped_walk": (QUADRUPED, 12),
    "reacher_easy": (REACHER, 2),
    "reacher_hard": (REACHER, 2),
    "walker_run": (WALKER, 6),
    "walker_stand": (WALKER, 6),
    "walker_walk": (WALKER, 6),
}


def random_actions(env, num_steps, scale=1.0):
    shape = (num_steps, env.spec.action_size)
    return np.random.default_rng(0).uniform(-scale, scale, shape).astype(np.float32)


def assert_same(actual, expected):
    np.testing.assert_equal(actual._asdict(), expected._asdict())


def assert_fits_spec(timestep, spec):
    assert list(timestep.observation) == list(spec.observation)
    for key, value in timestep.observation.items():
        assert isinstance(value, np.ndarray)
        assert ArraySpec(value.shape, value.dtype) == spec.observation[key]
        assert np.all(np.isfinite(value))
    for field, dtype in zip(timestep[1:], (np.float32, *3 * [bool]), strict=True):
        assert isinstance(field, np.ndarray)
        assert (field.shape, field.dtype) == ((), dtype)


@pytest.mark.parametrize("task", BENCHMARK)
def test_names_and_sizes(task):
    shapes, action_size = BENCHMARK[task]
    spec = DMControl(task, seed=0).spec
    expected = {key: ArraySpec(shape, FLOAT32) for key, shape in sorted(shapes.items())}
    assert list(spec.observation.items()) == list(expected.items())
    assert spec.action_size == action_size
    assert (spec.action_repeat, spec.episode_steps) == (2, 500)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs(task):
    env = DMControl(task, seed=0)
    for _ in range(2):
        timestep = env.reset()
        assert_fits_spec(timestep, env.spec)
        assert timestep.is_first
        for action in random_actions(env, 3):
            timestep = env.step(action)
            assert_fits_spec(timestep, env.spec)
            assert not timestep.is_first
            assert not timestep.is_last
    env.close()


def test_task_names_cover_the_suite():
    assert len(TASKS) == len(suite.ALL_TASKS) == len(set(TASKS.values()))
    assert TASKS["ball_in_cup_catch"] == ("ball_in_cup", "catch")
    assert TASKS["humanoid_CMU_run"] == ("humanoid_CMU", "run")
    assert TASKS["acrobot_swingup_sparse"] == ("acrobot", "swingup_sparse")
    assert {canonical_name(name) for name in SHORT_NAMES} <= set(TASKS)
    assert not set(SHORT_NAMES) & set(TASKS)


@pytest.mark.parametrize(("action_repeat", "num_transitions"), [(1, 1001), (2, 501), (3, 335)])
def test_flags_and_length_of_an_episode(action_repeat, num_transitions):
    env = DMControl("cartpole_balance", action_repeat=action_repeat, seed=0)
    assert env.spec.episode_steps == num_transitions - 1
    for _ in range(2):
        timesteps = [env.reset()]
        while not timesteps[-1].is_last:
            timesteps.append(env.step(np.zeros(1, np.float32)))
        assert len(timesteps) == num_transitions
        assert [bool(t.is_first) for t in timesteps] == [True] + [False] * (num_transitions - 1)
        assert not any(t.is_terminal for t in timesteps)
        assert timesteps[0].reward == 0


@pytest.mark.parametrize("action_repeat", [1, 2, 3])
@pytest.mark.parametrize(
    ("task", "frames"),
    [
        ("cartpole_swingup", 1010),  # beyond the end of the first episode
        ("walker_walk", 60),
        ("finger_turn_easy", 60),
        ("quadruped_walk", 60),
        ("lqr_lqr_6_2", 60),
    ],
)
def test_equals_dm_control(task, frames, action_repeat):
    env = DMControl(task, action_repeat=action_repeat, seed=7)
    raw = suite.load(*TASKS[task], task_kwargs={"random": 7})
    low, high = -np.ones(env.spec.action_size), np.ones(env.spec.action_size)
    if task == "quadruped_walk":
        low, high = raw.action_spec().minimum, raw.action_spec().maximum

    def assert_equal(timestep, expected, reward):
        assert sorted(expected.observation) == list(timestep.observation)
        for key, value in expected.observation.items():
            converted = np.asarray(value, np.float32)
            np.testing.assert_array_equal(timestep.observation[key], converted)
        assert timestep.reward == reward
        assert timestep.is_last == expected.last()

    assert_equal(env.reset(), expected := raw.reset(), 0)
    num_resets = 1
    for action in random_actions(env, frames // action_repeat):
        if expected.last():
            num_resets += 1
            timestep, expected, reward = env.reset(), raw.reset(), 0
        else:
            timestep, reward = env.step(action), np.float32(0)
            control = (action.astype(np.float64) + 1) / 2 * (high - low) + low
            for _ in range(action_repeat):
                expected = raw.step(control)
                reward += np.float32(expected.reward)
                if expected.last():
                    break
        assert_equal(timestep, expected, reward)
    assert num_resets == (2 if task == "cartpole_swingup" else 1)


def test_actions_are_clipped():
    # MuJoCo clamps to the limits of an actuator by itself; those of LQR have none.
    wild, tame = (DMControl("lqr_lqr_6_2", seed=0) for _ in range(2))
    wild.reset()
    tame.reset()
    actions = random_actions(wild, 20, scale=3.0)
    assert np.any(np.abs(actions) > 1)
    for action in actions:
        assert_same(wild.step(action), tame.step(np.clip(action, -1, 1)))


def test_actions_span_the_limits_of_the_quadruped():
    env = DMControl("quadruped_walk", action_repeat=1, seed=0)
    env.reset()
    physics = env._env.physics
    low, high = physics.model.actuator_ctrlrange.T
    assert high.max() == 1.1
    for sign, expected in [(-1, low), (0, (low + high) / 2), (1, high)]:
        env.step(np.full(12, sign, np.float32))
        np.testing.assert_allclose(physics.data.ctrl, expected, rtol=1e-15)


def test_seed_decides_what_is_drawn():
    def first_observations(seed):
        env = DMControl("reacher_easy", seed=seed)
        return [env.reset().observation["position"] for _ in range(2)]

    same, again, other = (first_observations(seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(same, again)
    assert np.all(np.not_equal(same, other))
    assert np.all(same[0] != same[1])


def test_time_steps_do_not_share_memory_with_the_simulator():
    env = DMControl("cheetah_run", seed=0)
    first = env.reset()
    before = {key: value.copy() for key, value in first.observation.items()}
    env.step(np.ones(6, np.float32))
    np.testing.assert_equal(first.observation, before)


def test_lqr_terminates_at_the_goal_and_is_truncated_like_other_tasks():
    env = DMControl("lqr_lqr_2_1", action_repeat=4, seed=0)
    env.reset()
    steps = [env.step(np.ones(1, np.float32)) for _ in range(250)]
    assert [bool(step.is_last) for step in steps] == [False] * 249 + [True]
    assert not steps[-1].is_terminal
    env.reset()
    with env._env.physics.reset_context():
        env._env.physics.data.qpos[:] = 0  # the goal
    timestep = env.step(np.zeros(1, np.float32))
    assert timestep.is_last
    assert timestep.is_terminal


@pytest.mark.parametrize("velocity", [np.nan, np.inf, 1e12])
@pytest.mark.parametrize("action_repeat", [1, 2])
def test_divergence_truncates_the_episode(velocity, action_repeat):
    env = DMControl("walker_walk", action_repeat=action_repeat, seed=0)
    env.reset()
    action = np.zeros(6, np.float32)
    previous = env.step(action)
    assert previous.reward > 0
    env._env.physics.data.qvel[:] = velocity
    timestep = env.step(action)
    assert_same(timestep, previous._replace(reward=np.float32(0), is_last=np.array(True)))
    assert env.reset().is_first
    timestep = env.step(action)
    assert_fits_spec(timestep, env.spec)
    assert not timestep.is_last


def test_names_and_dtypes_ofconverted_observations():
    count = np.array([3], np.int32)
    raw = {
        "walker/height": np.float64(0.1),
        "reward": np.ones(2),
        "count": count,
        "empty": np.zeros((0, 3)),
    }
    converted = convert(raw)
    assert list(converted) == ["count", "obs_reward", "walker_height"]
    assert converted["count"].dtype == np.int32
    assert converted["obs_reward"].dtype == np.float32
    assert converted["walker_height"].shape == ()
    assert converted["walker_height"] == np.float32(0.1)
    assert not np.shares_memory(converted["count"], count)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`task` must be .* got 'walker_fly'"):
        DMControl("walker_fly", seed=0)
    with pytest.raises(ValueError, match="`action_repeat` must be at least 1, got 0"):
        DMControl("walker_walk", action_repeat=0, seed=0)
    with pytest.raises(ValueError, match=r"`seed` must lie in .* got -1"):
        DMControl("walker_walk", seed=-1)
    env = DMControl("cartpole_balance", seed=0)
    env.reset()
    with pytest.raises(ValueError, match=r"`action` must be finite, got .*nan"):
        env.step(np.array([np.nan], np.float32))


SCRIPT = """
import os, sys
import numpy as np
from gpld.envs.dmc.env import DMControl
from gpld.suite import TASKS
for task, size in [("quadruped_escape", 12), ("cheetah_run", 6)]:
    env = DMControl(task, seed=0)
    env.reset()
    env.step(np.zeros(size, np.float32))
print(os.environ["MUJOCO_GL"])
print([m for m in ("OpenGL", "glfw", "jax") if m in sys.modules])
"""


@pytest.mark.parametrize("setting", [None, "disabled"])
def test_needs_no_opengl_and_no_jax_and_prints_nothing(setting):
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    if setting is not None:
        environment["MUJOCO_GL"] = setting
    command = [sys.executable, "-W", "always", "-c", SCRIPT]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [setting or "off", "[]"]
