import functools

import numpy as np
import pytest

from gpld.envs import ArraySpec, Environment
from gpld.envs.probe import (
    TASKS,
    ConstantReward,
    DelayedReward,
    Discrete,
    Memory,
    Termination,
)

NUM_EPISODES = 20


def run_episode(env, policy):
    """Time steps of one episode; `policy` maps all time steps so far to an action."""
    timesteps = [env.reset()]
    while not timesteps[-1].is_last:
        action = policy(timesteps)
        one = env.spec.action
        timesteps.append(env.step(np.full(one.shape, action, one.dtype)))
    return timesteps


def episode_return(timesteps):
    return sum(float(timestep.reward) for timestep in timesteps)


def _brighter(image):
    """1 where the right half of a picture is brighter than the left one, else -1."""
    left, right = np.split(image.astype(float), 2, axis=1)
    return np.sign(right.mean() - left.mean())


BEST = {
    "probe_constant": lambda timesteps: 0.0,
    "probe_delayed": lambda timesteps: 0.1,
    "probe_discrete": lambda timesteps: timesteps[-1].observation["number"],
    "probe_memory": lambda timesteps: timesteps[0].observation["signal"][0],
    "probe_picture": lambda timesteps: _brighter(timesteps[-1].observation["image"]),
    "probe_termination": lambda timesteps: 0.1,
}


@pytest.mark.parametrize("task", TASKS)
def test_probes_are_environments(task):
    assert isinstance(TASKS[task](seed=0), Environment)


@pytest.mark.parametrize("task", TASKS)
def test_best_policy_earns_the_optimal_return(task):
    env = TASKS[task](seed=0)
    assert env.spec.episode_steps == env.length
    for _ in range(NUM_EPISODES):
        timesteps = run_episode(env, BEST[task])
        assert episode_return(timesteps) == env.optimal_return
        assert len(timesteps) == env.length + 1
        first, *_, last = timesteps
        assert first.is_first
        assert first.reward == 0
        assert not any(timestep.is_first for timestep in timesteps[1:])
        assert not any(timestep.is_last for timestep in timesteps[:-1])
        assert last.is_last
        assert not last.is_terminal


@pytest.mark.parametrize("task", TASKS)
def test_random_policy_stays_within_the_optimal_return_and_the_spec(task):
    env = TASKS[task](seed=0)
    rng = np.random.default_rng(0)
    for _ in range(NUM_EPISODES):
        draw = rng.integers if env.discrete else functools.partial(rng.uniform, -1)
        timesteps = run_episode(env, lambda _, draw=draw: draw(max(env.action_size, 1)))
        assert env.lowest_return <= episode_return(timesteps) <= env.optimal_return
        for index, timestep in enumerate(timesteps):
            spec = env.spec.observation
            assert list(timestep.observation) == list(spec)
            for name, value in timestep.observation.items():
                assert (value.shape, value.dtype) == spec[name][:2]
                if (classes := spec[name].num_classes) is not None:
                    assert np.all((value >= 0) & (value < classes))
            time = timestep.observation.get("time", np.float32(index / env.length))
            assert time == np.float32(index / env.length)


def test_delayed_reward_has_the_lowest_return_for_the_wrong_sign():
    env = TASKS["probe_delayed"](seed=0)
    timesteps = run_episode(env, lambda _: -1.0)
    assert episode_return(timesteps) == env.lowest_return == -1


def test_constant_reward_pays_every_policy():
    timesteps = run_episode(ConstantReward(seed=0), lambda _: -1.0)
    assert [float(timestep.reward) for timestep in timesteps] == [0.0] + [1.0] * 16


@pytest.mark.parametrize("first_action", [-1.0, 0.0, 1.0])
def test_delayed_reward_is_decided_by_the_first_action_alone(first_action):
    env = DelayedReward(seed=0)
    timesteps = run_episode(
        env, lambda timesteps: first_action if len(timesteps) == 1 else -first_action
    )
    rewards = [float(timestep.reward) for timestep in timesteps]
    assert rewards == [0.0] * env.length + [first_action]
    signals = [timestep.observation["signal"][0] for timestep in timesteps]
    assert signals == [0.0] + [first_action] * env.length


@pytest.mark.parametrize("num_before", [0, 3, 7])
def test_a_negative_action_terminates(num_before):
    timesteps = run_episode(
        Termination(seed=0),
        lambda timesteps: 1.0 if len(timesteps) <= num_before else -1.0,
    )
    assert len(timesteps) == num_before + 2
    assert episode_return(timesteps) == num_before + 1
    assert timesteps[-1].is_last
    assert timesteps[-1].is_terminal
    assert not any(timestep.is_terminal for timestep in timesteps[:-1])


def test_memory_shows_its_cue_once_and_pays_half_without_memory():
    env = Memory(seed=0)
    episodes = [run_episode(env, lambda _: 1.0) for _ in range(400)]
    cues = np.array([episode[0].observation["signal"][0] for episode in episodes])
    returns = np.array([episode_return(episode) for episode in episodes])
    assert set(cues) == {-1.0, 1.0}
    np.testing.assert_array_equal(returns, cues == 1.0)
    # Four standard deviations of the mean of 400 fair coins.
    assert abs(returns.mean() - 0.5) < 4 * 0.5 / 400**0.5
    for episode in episodes:
        assert not any(timestep.observation["signal"][0] for timestep in episode[1:])


def test_memory_pays_only_a_match_at_the_last_step():
    env = Memory(seed=0)
    late_mistake = run_episode(
        env,
        lambda timesteps: (
            BEST["probe_memory"](timesteps) * (-1 if len(timesteps) == env.length else 1)
        ),
    )
    assert episode_return(late_mistake) == 0


def test_discrete_pays_for_the_number_that_is_shown_alone():
    env = Discrete(seed=0)
    assert (env.spec.discrete, env.spec.action) == (True, ArraySpec((), np.dtype(np.int32), 3))
    numbers = set()
    for _ in range(8):
        timesteps = run_episode(env, lambda _: 1)
        shown = [int(timestep.observation["number"]) for timestep in timesteps]
        assert shown == [(shown[0] + i) % 3 for i in range(10)]
        rewards = [float(timestep.reward) for timestep in timesteps[1:]]
        assert rewards == [float(number == 1) for number in shown[:-1]]
        numbers.add(shown[0])
    assert numbers == {0, 1, 2}


def test_a_negative_seed_is_named():
    with pytest.raises(ValueError, match="`seed` must be at least 0, got -1"):
        Memory(seed=-1)


def test_seed_decides_the_cues():
    def cues(seed):
        env = Memory(seed=seed)
        return [float(env.reset().observation["signal"][0]) for _ in range(32)]

    assert cues(0) == cues(0)
    assert cues(0) != cues(1)
