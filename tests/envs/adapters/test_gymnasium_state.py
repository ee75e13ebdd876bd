"""Gymnasium's own environments go on in mid-episode, bit for bit."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gpld.checkpoints import tree_file
from gpld.envs import make_env
from gpld.envs.adapters import gymnasium_state
from gpld.envs.adapters.adapter import Adapter
from gpld.envs.adapters.gymnasium_env import GymnasiumEnv
from gpld.envs.timestep import ANEW
from gpld.errors import UsageError

CLASSIC = ["CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1"]
TOY = ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v4", "Blackjack-v1"]
MUJOCO = [
    f"{name}-v5"
    for name in (
        *("Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "InvertedPendulum"),
        *("InvertedDoublePendulum", "Pusher", "Reacher", "Swimmer", "Walker2d"),
    )
]


def actions(spec, count, seed=0):
    rng = np.random.default_rng(seed)
    if spec.discrete:
        return rng.integers(0, spec.action_size, count)
    return rng.uniform(-1, 1, (count, spec.action_size)).astype(np.float32)


def advance(env, chosen):
    """Steps and resets, as a vector environment does it; an episode has begun."""
    steps = []
    for action in chosen:
        due = steps[-1].is_last if steps else False
        steps.append(env.reset() if due else env.step(action))
    return steps


@pytest.mark.parametrize("name", [*CLASSIC, *TOY, *MUJOCO])
def test_an_episode_goes_on_from_a_file(name, tmp_path):
    env, copy = (make_env(f"gymnasium:{name}", seed=seed) for seed in (3, 4))
    assert env.spec.resumable
    before, after = np.split(actions(env.spec, 300), [7])
    env.reset()
    for action in before:
        if env.step(action).is_last:
            env.reset()
    (tmp_path / "state").write_bytes(tree_file.dump(env.get_state()))
    expected = advance(env, after)
    copy.set_state(tree_file.load(tmp_path / "state"))
    np.testing.assert_equal(advance(copy, after), expected)  # of several episodes, most of them
    env.close()
    copy.close()


@pytest.mark.parametrize("name", ["Pendulum-v1", "Hopper-v5"])
def test_a_state_before_the_first_episode_keeps_the_seed(name):
    env, copy = (make_env(f"gymnasium:{name}", seed=5) for _ in range(2))
    copy.set_state(env.get_state())
    np.testing.assert_equal(copy.reset(), env.reset())


def test_the_time_limit_goes_on():
    env, copy = (make_env("gymnasium:Pendulum-v1", seed=5) for _ in range(2))
    env.reset()
    for action in actions(env.spec, 150):
        env.step(action)
    copy.set_state(env.get_state())
    lengths = [len(list(iter(lambda: bool(copy.step([0.0]).is_last), True))) for _ in range(1)]
    assert lengths == [49]  # and the last


class Counter(gymnasium.Env):
    """Counts, with a state of its own."""

    observation_space = spaces.Box(-np.inf, np.inf, ())
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = self.np_random.integers(100)
        return np.float32(self.count), {}

    def step(self, action):
        self.count += self.np_random.integers(10)
        return np.float32(self.count), 0.0, False, False, {}


class Resumable(Counter):
    def get_state(self):
        return {"count": int(self.count)}

    def set_state(self, state):
        self.count = state["count"]


class Remembering(gymnasium.Wrapper):
    """Whose memory nobody knows."""


def test_an_environment_may_have_a_state_itself():
    def make(seed):
        return Adapter(GymnasiumEnv(gymnasium.wrappers.TimeLimit(Resumable(), 6)), seed=seed)

    env, copy = make(0), make(1)
    assert env.spec.resumable
    env.reset()
    env.step([0.0])
    copy.set_state(env.get_state())
    steps = advance(env, [[0.0]] * 12)
    np.testing.assert_equal(advance(copy, [[0.0]] * 12), steps)
    assert [step.is_last.item() for step in steps].index(True) == 4


class Keeping(gymnasium.Wrapper):
    """Wrapper with a state of its own, around a time limit that does not belong to it."""

    def get_state(self):
        return {"state": self.unwrapped.state.copy()}

    def set_state(self, state):
        self.unwrapped.state = state["state"]


def test_a_time_limit_within_what_has_a_state_is_known_and_goes_on():
    env, copy = (
        Adapter(GymnasiumEnv(Keeping(gymnasium.make("Pendulum-v1"))), seed=seed) for seed in (5, 6)
    )
    assert env.spec.resumable
    assert env.spec.episode_steps == 200
    with pytest.raises(UsageError, match="that ends its episodes after 200 steps itself"):
        Adapter(GymnasiumEnv(Keeping(gymnasium.make("Pendulum-v1"))), seed=5, episode_steps=10)
    env.reset()
    for action in actions(env.spec, 150):
        env.step(action)
    copy.set_state(env.get_state())
    steps = advance(env, [[0.5]] * 60)
    np.testing.assert_equal(advance(copy, [[0.5]] * 60), steps)
    assert [step.is_last.item() for step in steps].index(True) == 49
    # As it was saved before: what the limit counts is then left to the environment.
    state = env.get_state()
    state["env"]["elapsed"] = {}
    copy.set_state(state)
    assert not copy.step([0.5]).is_last


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": [{1}]}}, "numbers, texts and None, got set"),
        ({"a": np.array(["x"])}, "got ndarray"),
        ({"a": np.datetime64(1, "s")}, "got datetime64"),
        ({1: 2}, "keys that are texts, got 1"),
    ],
)
def test_a_state_that_files_cannot_hold_counts_as_none(state, message):
    own = Resumable()
    own.get_state = lambda: state
    env = Adapter(GymnasiumEnv(own), seed=0)
    env.reset()
    assert message in env.get_state()[ANEW]  # which says that the episode begins anew


def test_what_is_unknown_is_not_resumable():
    assert not gymnasium_state.is_known(Counter())
    assert not gymnasium_state.is_known(Remembering(gymnasium.make("Pendulum-v1").unwrapped))
    assert gymnasium_state.is_known(gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1")))
    assert gymnasium_state.is_known(Remembering(Resumable()).env)


def test_without_a_state_an_environment_begins_as_it_was_made():
    env, copy = (Adapter(GymnasiumEnv(Counter()), seed=seed) for seed in (0, 1))
    first = env.reset().observation["observation"]
    state = env.get_state()
    assert state == {ANEW: True}
    copy.set_state(state)
    assert copy.reset().observation["observation"] != first
