"""What `get_state` gives continues bit for bit in another environment."""

import io
import json

import numpy as np
import pytest

from gpld.envs import make_env
from gpld.envs.dmc.env import DMControl
from gpld.envs.probe import TASKS as PROBES
from gpld.suite import TASKS

# Each changes the model, or remembers, in another way.
VARIED = [
    "dog_fetch",
    "finger_turn_hard",
    "fish_swim",
    "lqr_lqr_6_2",
    "manipulator_insert_peg",
    "point_mass_hard",
    "quadruped_escape",
    "reacher_hard",
    "swimmer_swimmer6",
]


def through_files(state):
    """Writes a state as JSON and as NumPy's format without pickle, and reads both."""
    arrays = []

    def write(x):
        if type(x) is dict:
            assert all(type(key) is str for key in x)
            return {key: write(value) for key, value in x.items()}
        if type(x) is np.ndarray:
            arrays.append(x)
            return [len(arrays) - 1]
        assert x is None or type(x) in (bool, int, float, str), x
        return x

    def read(x):
        if isinstance(x, dict):
            return {key: read(value) for key, value in x.items()}
        return file[f"arr_{x[0]}"] if isinstance(x, list) else x

    text, buffer = json.dumps(write(state)), io.BytesIO()
    np.savez(buffer, *arrays)
    with np.load(io.BytesIO(buffer.getvalue())) as file:
        return read(json.loads(text))


def arrays_of(timestep):
    return [*timestep.observation.values(), *timestep[1:]]


def assert_same_bits(actual, expected):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert list(a.observation) == list(b.observation)
        for x, y in zip(arrays_of(a), arrays_of(b), strict=True):
            assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def random_actions(env, num_steps, seed=0):
    shape = (num_steps, env.spec.action_size)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def mostly_right(env, num_steps, seed=0):
    """Actions that are positive, or the first, more often than not."""
    if env.spec.discrete:
        drawn = np.random.default_rng(seed).integers(env.spec.action_size, size=num_steps)
        return [np.asarray(action, np.int32) for action in drawn]
    return 0.5 + random_actions(env, num_steps, seed)


def run(env, actions, *, reset_next):
    timesteps = []
    for action in actions:
        timesteps.append(env.reset() if reset_next else env.step(action))
        reset_next = bool(timesteps[-1].is_last)
    return timesteps


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_continues_past_the_end_of_its_episode(task):
    env = DMControl(task, seed=1)
    run(env, random_actions(env, 4), reset_next=True)
    env._env._step_count = env._env._step_limit - 10  # as if the episode were almost over
    state = env.get_state()
    actions = random_actions(env, 16, seed=1)
    expected = run(env, actions, reset_next=False)
    assert [bool(t.is_last) for t in expected].index(True) == 4
    assert [bool(t.is_first) for t in expected].index(True) == 5
    copy = DMControl(task, seed=1)
    copy.set_state(through_files(state))
    assert_same_bits(run(copy, actions, reset_next=False), expected)


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [0, 1, 2, 5, 11, 14])
@pytest.mark.parametrize("task", ["cheetah_run", "finger_turn_easy", "lqr_lqr_2_1"])
def test_may_be_taken_at_any_time_of_whole_episodes(task, num_steps):
    # Time step 0 is a reset, and 10 the last of an episode.
    env = DMControl(task, action_repeat=100, seed=1)
    before = run(env, random_actions(env, num_steps), reset_next=True)
    reset_next = num_steps == 0 or bool(before[-1].is_last)
    assert reset_next == (num_steps in (0, 11))
    state = env.get_state()
    actions = random_actions(env, 14, seed=1)
    expected = run(env, actions, reset_next=reset_next)
    copy = DMControl(task, action_repeat=100, seed=1)
    copy.set_state(through_files(state))
    assert_same_bits(run(copy, actions, reset_next=reset_next), expected)


@pytest.mark.parametrize("task", VARIED)
def test_may_be_set_again_and_where_other_things_have_happened(task):
    env = DMControl(task, seed=1)
    run(env, random_actions(env, 4), reset_next=True)
    state = env.get_state()
    actions = np.tile(random_actions(env, 3), (2, 1))
    expected = [*run(env, actions, reset_next=False), *run(env, actions, reset_next=True)]
    other = DMControl(task, seed=2)  # even another LQR, whose springs are drawn from the seed
    run(other, random_actions(env, 2), reset_next=True)
    for copy in (env, other, other):
        copy.set_state(state)
        actual = [*run(copy, actions, reset_next=False), *run(copy, actions, reset_next=True)]
        assert_same_bits(actual, expected)


def test_of_an_environment_that_was_never_reset_restores_the_model_too():
    env = DMControl("finger_turn_hard", seed=1)
    state = env.get_state()
    assert state["model"] == {}
    env.reset()
    assert list(env.get_state()["model"]) == ["site_pos"]
    env.set_state(state)
    assert env.get_state()["model"] == {}
    assert_same_bits([env.reset()], [DMControl("finger_turn_hard", seed=1).reset()])


def test_truncation_repeats_the_observation_before_the_state_was_taken(capfd):
    env = DMControl("walker_walk", seed=1)
    (*_, last) = run(env, random_actions(env, 4), reset_next=True)
    copy = DMControl("walker_walk", seed=1)
    copy.set_state(through_files(env.get_state()))
    env._env.physics.data.qvel[:] = copy._env.physics.data.qvel[:] = np.inf
    truncated = [x.step(np.zeros(6, np.float32)) for x in (env, copy)]
    np.testing.assert_equal(truncated[1].observation, last.observation)
    assert truncated[1].is_last
    # What divergence leaves behind is a state like others.
    copy.set_state(through_files(env.get_state()))
    actions = random_actions(env, 4)
    assert_same_bits(run(copy, actions, reset_next=True), run(env, actions, reset_next=True))
    assert capfd.readouterr() == ("", "")


def test_negative_zeros_of_the_model_are_kept():
    env = DMControl("reacher_easy", seed=1)
    env._env.physics.model.geom_pos[0] = -0.0
    copy = DMControl("reacher_easy", seed=1)
    copy.set_state(env.get_state())
    assert np.all(np.signbit(copy._env.physics.model.geom_pos[0]))


@pytest.mark.parametrize("num_steps", [0, 1, 2, 3, 20])
@pytest.mark.parametrize("task", PROBES)
def test_probes_continue(task, num_steps):
    env = make_env(task, seed=1)
    before = run(env, mostly_right(env, num_steps), reset_next=True)
    reset_next = num_steps == 0 or bool(before[-1].is_last)
    state = env.get_state()
    actions = mostly_right(env, 60, seed=1)
    expected = run(env, actions, reset_next=reset_next)
    assert sum(bool(t.is_first) for t in expected) >= 3
    for seed in (1, 2):
        copy = make_env(task, seed=seed)
        copy.set_state(through_files(state))
        assert_same_bits(run(copy, actions, reset_next=reset_next), expected)


def test_of_another_task_is_refused():
    env = DMControl("walker_walk", seed=0)
    with pytest.raises(ValueError, match="`state` must be one of walker_walk, got one of reacher"):
        env.set_state(DMControl("reacher_easy", seed=0).get_state())
