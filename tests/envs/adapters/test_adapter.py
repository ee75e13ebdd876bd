"""Environments of others as ours: time steps, ends, repeats, pictures, faults met elsewhere."""

import dm_env
import gymnasium
import numpy as np
import pytest
from dm_env import specs
from gymnasium import spaces

from gpld.checkpoints import tree_file
from gpld.envs import Environment
from gpld.envs.adapters.adapter import Adapter, as_stored
from gpld.envs.adapters.dm_env import DmEnv
from gpld.envs.adapters.gymnasium_env import GymnasiumEnv
from gpld.envs.timestep import ANEW
from gpld.errors import UsageError


class Scripted(gymnasium.Env):
    """Returns what it is told, from one buffer that it overwrites, and prints."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, *outcomes, render_mode=None, action_space=None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = action_space or spaces.Box(-2, 2, (1,))
        self.render_mode = render_mode
        self.outcomes, self.buffer = outcomes, np.zeros(2)
        self.seeds, self.actions = [], []

    def reset(self, *, seed=None, options=None):
        print("begins")
        self.seeds.append(seed)
        self.time, self.buffer[:] = 0, 0
        return self.buffer, {"array": np.zeros(3)}

    def step(self, action):
        print("steps")
        self.actions.append(action)
        reward, terminated, truncated = self.outcomes[self.time]
        self.time += 1
        self.buffer[:] = self.time
        return self.buffer, reward, terminated, truncated, {"array": np.zeros(3)}

    def render(self):
        return np.full((32, 48, 3), self.time, np.uint8)


def adapt(env, **options):
    return Adapter(GymnasiumEnv(env), seed=7, **options)


def test_ends_and_what_is_returned():
    outcomes = [(1, False, False), (np.float64(2), np.True_, False), (0, False, True), (0, True, 1)]
    env = adapt(Scripted(*outcomes))
    assert isinstance(env, Environment)
    first = env.reset()
    assert (first.is_first, first.is_last, first.reward) == (True, False, 0)
    steps = [env.step(np.zeros(1, np.float32)) for _ in outcomes]
    assert [bool(step.is_terminal) for step in steps] == [False, True, False, True]
    assert [bool(step.is_last) for step in steps] == [False, True, True, True]
    assert [step.reward.item() for step in steps] == [1, 2, 0, 0]
    # The buffer was overwritten since, and was float64.
    for time, step in enumerate([first, *steps]):
        np.testing.assert_array_equal(step.observation["observation"], np.full(2, time, np.float32))
        assert step.observation["observation"].dtype == np.float32
        assert step.reward.dtype == np.float32


def test_only_the_first_reset_has_the_seed():
    own = Scripted()
    env = adapt(own)
    for _ in range(3):
        env.reset()
    assert own.seeds == [7, None, None]


def test_repeats_sum_rewards_up_to_the_end():
    own = Scripted((1, False, False), (2, False, False), (4, False, True), (8, False, False))
    env = adapt(own, action_repeat=2)
    env.reset()
    steps = [env.step([0.5]) for _ in range(2)]
    assert [(step.reward.item(), step.is_last.item()) for step in steps] == [(3, False), (4, True)]
    np.testing.assert_array_equal(own.actions, np.full((3, 1), 1, np.float32))


def test_a_time_limit_truncates_where_there_is_none():
    env = adapt(Scripted(*[(1, False, False)] * 5), episode_steps=3)
    assert env.spec.episode_steps == 3
    for _ in range(2):
        env.reset()
        ends = [(s.is_last.item(), s.is_terminal.item()) for s in (env.step([0.0]),) * 1]
        ends += [(s.is_last.item(), s.is_terminal.item()) for s in map(env.step, [[0.0]] * 2)]
        assert ends == [(False, False), (False, False), (True, False)]


def test_the_limit_of_gymnasium_stays_also_of_two():
    own = gymnasium.wrappers.TimeLimit(Scripted(*[(1, False, False)] * 9), 5)
    env = adapt(gymnasium.wrappers.TimeLimit(own, 3), action_repeat=2)
    assert env.spec.episode_steps == 2
    env.reset()
    assert [env.step([0.0]).is_last.item() for _ in range(2)] == [False, True]
    with pytest.raises(UsageError, match=r"`env.episode_steps` must be None .* after 5 steps"):
        adapt(own, episode_steps=3)


def test_without_a_limit_the_length_is_unknown():
    assert adapt(Scripted()).spec.episode_steps == 0


def test_pictures_instead_or_as_well():
    pixels = adapt(Scripted((0, False, False), render_mode="rgb_array"), observations="pixels")
    assert {k: x.shape for k, x in pixels.spec.observation.items()} == {"image": (32, 48, 3)}
    pixels.reset()
    assert (pixels.step([0.0]).observation["image"] == 1).all()
    both = adapt(Scripted(render_mode="rgb_array"), observations="both", image_size=16)
    shapes = {k: x.shape for k, x in both.spec.observation.items()}
    assert shapes == {"image": (16, 16, 3), "observation": (2,)}
    assert set(both.reset().observation) == set(shapes)


def test_a_picture_takes_the_place_of_no_observation():
    env = Scripted(render_mode="rgb_array")
    names = {"image": spaces.Box(0, 1, (2,)), "obs": spaces.Dict(frame=spaces.Box(0, 1, (2,)))}
    env.observation_space = spaces.Dict(names)
    own = {"image": np.zeros(2, np.float32), "obs": {"frame": np.zeros(2, np.float32)}}
    env.reset = lambda **_: (setattr(env, "time", 0), (own, {}))[1]
    adapted = adapt(env, observations="both")
    shapes = {name: array.shape for name, array in adapted.spec.observation.items()}
    assert shapes == {"image": (2,), "obs/frame": (2,), "obs/frame0": (32, 48, 3)}


def test_an_action_that_is_changed_in_place_is_given_anew_at_each_repeat():
    class Halving(Scripted):
        def step(self, action):
            outcome = super().step(action.copy())
            action *= 0.5
            return outcome

    env = Halving(*[(0, False, False)] * 3)
    adapted = adapt(env, action_repeat=3)
    adapted.reset()
    adapted.step(np.ones(1, np.float32))
    assert [action.item() for action in env.actions] == [2, 2, 2]


class Remembering(Scripted):
    """Has a state, of which files can hold what it is at first."""

    memory: object = 0.0

    def get_state(self):
        return {"memory": self.memory}

    def set_state(self, state):
        self.memory = state["memory"]


def test_states_are_checked_as_files_give_them_back(tmp_path):
    state = {"a": (1, [np.float32(0.1), (None, "b")]), "c": {"d": np.arange(3.0), "e": np.True_}}
    (tmp_path / "state.npz").write_bytes(tree_file.dump(state))
    np.testing.assert_equal(as_stored(state), tree_file.load(tmp_path / "state.npz"))
    (_, [number, nested]), flag = as_stored(state)["a"], as_stored(state)["c"]["e"]
    assert [type(x) for x in (number, nested, flag)] == [float, list, bool]


def test_a_state_that_files_cannot_hold_never_ends_a_run():
    env = Remembering((0, False, False))
    env.memory = [np.float32(0), (1, None)]
    adapted = adapt(env)
    adapted.reset()
    assert adapted.get_state()["env"]["core"] == {"memory": [0, (1, None)]}
    env.memory = {1.0}
    state = adapted.get_state()
    assert state.keys() == {ANEW}
    other = adapt(Remembering((0, False, False)))
    other.set_state(state)
    assert other.reset().is_first


@pytest.mark.parametrize("observations", ["pixels", "both"])
def test_an_environment_that_draws_nothing_says_how_to_make_it(observations):
    with pytest.raises(
        UsageError, match=r"without the `render_mode` rgb_array, but it is None; .*{"
    ):
        adapt(Scripted(), observations=observations)


def test_integers_reach_it_as_its_space_has_them():
    own = Scripted(*[(0, False, False)] * 4, action_space=spaces.Discrete(3, start=-1))
    env = adapt(own)
    assert (env.spec.discrete, env.spec.action_size) == (True, 3)
    env.reset()
    for action in (0, np.int32(2), np.array([1]), np.array(2)):
        env.step(action)
    assert own.actions == [-1, 1, 0, 1]
    assert all(map(own.action_space.contains, own.actions))


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.Dict(a=spaces.Discrete(2)),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.MultiBinary(3),
        spaces.Text(5),
    ],
)
def test_other_actions_are_refused_by_name(space):
    with pytest.raises(
        UsageError, match=f"must be a Box or Discrete, but .* {type(space).__name__}"
    ):
        adapt(Scripted(action_space=space))


@pytest.mark.parametrize("reward", [None, [1.0, 2.0], "much"])
def test_a_reward_that_is_no_number_raises(reward):
    env = adapt(Scripted((reward, False, False)))
    env.reset()
    with pytest.raises((TypeError, ValueError)):
        env.step([0.0])


def test_a_reward_too_large_for_float32_is_infinite():
    env = adapt(Scripted((1e300, False, False)))
    env.reset()
    assert np.isinf(env.step([0.0]).reward)


class Walk(dm_env.Environment):
    """A dm_env environment with a nested spec."""

    def __init__(self, discount=0.0):
        self.discount = discount

    def observation_spec(self):
        return {
            "a": [specs.Array((2,), np.float64), specs.DiscreteArray(4)],
            "value": specs.Array((), int),
        }

    def action_spec(self):
        return specs.BoundedArray((2,), np.float32, [-1, 0], [1, 4])

    def _observation(self):
        return {"a": [np.full(2, self.time, np.float64), self.time], "value": self.time}

    def reset(self):
        self.time = 0
        return dm_env.restart(self._observation())

    def step(self, action):
        self.time += 1
        self.action = action
        if self.time < 3:
            return dm_env.transition(float(self.time), self._observation())
        step = dm_env.termination(5.0, self._observation())
        return step._replace(discount=self.discount)


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_dm_env(discount):
    own = Walk(discount)
    env = Adapter(DmEnv(own), seed=0)
    assert {k: (x.shape, x.num_classes) for k, x in env.spec.observation.items()} == {
        "a/0": ((2,), None),
        "a/1": ((), 4),
        "obs/value": ((), None),
    }
    assert not env.spec.resumable
    for _ in range(2):
        steps = [env.reset(), *(env.step(np.array([0.0, -1.0])) for _ in range(3))]
        assert [s.reward.item() for s in steps] == [0, 1, 2, 5]
        assert [s.is_last.item() for s in steps] == [False] * 3 + [True]
        assert steps[-1].is_terminal == (discount == 0)
        assert [s.observation["a/1"].item() for s in steps] == [0, 1, 2, 3]
    np.testing.assert_array_equal(own.action, np.array([0, 0], np.float32))


def test_dm_env_refuses_what_it_has_not():
    with pytest.raises(UsageError, match="no pictures of environments of dm_env"):
        Adapter(DmEnv(Walk()), seed=0, observations="pixels")
    unbounded = Walk()
    unbounded.action_spec = lambda: specs.Array((2,), np.float32)
    with pytest.raises(UsageError, match="BoundedArray or DiscreteArray, but the spec is Array"):
        DmEnv(unbounded)
    unbounded.action_spec = lambda: specs.DiscreteArray(5)
    env = Adapter(DmEnv(unbounded), seed=0)
    assert (env.spec.discrete, env.spec.action_size) == (True, 5)
