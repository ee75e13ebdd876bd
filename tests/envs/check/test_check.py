"""Environments with one fault each, and the only rule that finds it; others pass all."""

import os
import sys
import time

import dm_env
import gymnasium
import jax
import numpy as np
import pytest
from dm_env import specs
from gymnasium import spaces

import gpld
from gpld.envs import ArraySpec, EnvSpec, make_env, own
from gpld.envs.check import check, check_env, check_quickly, trials
from gpld.envs.check.walk import take_walk
from gpld.envs.probe import Memory
from gpld.envs.timestep import single_timestep


class Good(gymnasium.Env):
    """Begins somewhere, moves, and ends after some steps; its state is all that it has."""

    observation_space = spaces.Dict(
        {"at": spaces.Box(-50, 50, (2,), np.float64), "where": spaces.Discrete(3, start=1)}
    )
    action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([1.0, 5.0]), dtype=np.float64)
    length = 12

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.time = self.draw(), 0
        return self.observe(), {}

    def step(self, action):
        self.at = self.at + action / 10
        self.time += 1
        return self.observe(), self.reward(), False, self.time >= self.length, {}

    def draw(self):
        return self.np_random.normal(size=2)

    def observe(self):
        return {"at": self.at.copy(), "where": 1 + self.time % 3}

    def reward(self):
        return -float(np.abs(self.at).sum())

    def get_state(self):
        return {"at": self.at.copy(), "time": self.time}

    def set_state(self, state):
        self.at, self.time = state["at"].copy(), state["time"]


# Faults that one walk shows.


class ExitsAtStep(Good):
    def reward(self):
        sys.exit("bye")


class RaisesAtStep(Good):
    def observe(self):
        if self.time == 3:
            raise RuntimeError("the arm\nis off")
        return super().observe()


class OldInterface(Good):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated or truncated, info


class OldSeed(Good):
    def reset(self):
        return super().reset()


class OldReset(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class RaisesAtClose(Good):
    def close(self):
        raise OSError("no port")


class KeyMissing(Good):
    def observe(self):
        return {"at": self.at.copy()} if self.time == 4 else super().observe()


class OtherShape(Good):
    def observe(self):
        return super().observe() | {"at": np.zeros(2 + (self.time == 4))}


class KeyUnannounced(Good):
    def observe(self):
        return super().observe() | {"speed": 1.0}


class WordsForNumbers(Good):
    def observe(self):
        return super().observe() | {"where": 1.5}


class Float64ForFloat32(Good):
    observation_space = spaces.Dict({**Good.observation_space, "at": spaces.Box(-50, 50, (2,))})


class ClassOutOfRange(Good):
    def observe(self):
        return super().observe() | {"where": self.time % 3}


class OutOfBounds(Good):
    observation_space = spaces.Dict(
        {**Good.observation_space, "at": spaces.Box(-0.1, 0.1, (2,), np.float64)}
    )


class NotANumber(Good):
    def draw(self):
        return np.full(2, np.nan)

    def reward(self):
        return 0.0


class InfiniteReward(Good):
    def reward(self):
        return np.inf if self.time == 5 else 0.0


class NoReward(Good):
    def reward(self):
        return None if self.time == 5 else 0.0


class TwoRewards(Good):
    def reward(self):
        return np.zeros(2)


class FlagIsNone(Good):
    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, None, truncated, info


class OneBuffer(Good):
    def step(self, action):
        self.at += action / 10
        self.time += 1
        return self.observe(), self.reward(), False, self.time >= self.length, {}

    def observe(self):
        return {"at": self.at, "where": 1 + self.time % 3}


class NeverEnds(Good):
    length = 10**9
    observation_space = spaces.Dict(
        {**Good.observation_space, "at": spaces.Box(-np.inf, np.inf, (2,), np.float64)}
    )


class ForgetsToStartAnew(Good):
    time = 0

    def reset(self, *, seed=None, options=None):
        time = self.time
        observation, info = super().reset(seed=seed)
        self.time = time
        return observation, info


class Drawn(Good):
    render_mode = "rgb_array"
    side = 32

    def render(self):
        return np.full((32, self.side, 3), self.time, np.uint8)


class DrawnInTwoSizes(Drawn):
    def render(self):
        self.side = 32 + 16 * (self.time == 3)
        return super().render()


class FailsToDraw(Drawn):
    def render(self):
        if self.time == 3:
            raise RuntimeError("no light")
        return super().render()


# Faults that more environments show.


class DrawsOfItself(Good):
    def draw(self):
        return np.random.default_rng().normal(size=2)


class RemembersInItsClass(Good):
    steps = 0

    def observe(self):
        RemembersInItsClass.steps += 1
        return super().observe() | {"at": np.full(2, 1e-3 * self.steps)}


class IgnoresTheSeed(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None if seed is None else 0)


class StateForgets(Good):
    def get_state(self):
        return {"at": self.at.copy(), "time": 0}


class StateHasATuple(Good):
    """Its file gives back a list, which is no tuple."""

    def get_state(self):
        return {"where": (self.time, *self.at.tolist())}

    def set_state(self, state):
        self.time, *at = state["where"]
        self.at = np.array(at) if isinstance(state["where"], tuple) else np.zeros(2)


class StateOfAPlayer(Good):
    def get_state(self, player):
        return {}


class StateInTwoParts(Good):
    """As in MuJoCo's own environments."""

    def set_state(self, qpos, qvel):
        pass


class SetsJaxAtStep(Good):
    def reward(self):
        jax.config.update("jax_debug_nans", True)
        return super().reward()


class StateIsAlive(Good):
    def step(self, action):
        self.at += action / 10
        self.time += 1
        return self.observe(), self.reward(), False, self.time >= self.length, {}

    def get_state(self):
        return {"at": self.at, "time": self.time}


class StateMovesIt(Good):
    def get_state(self):
        self.at = self.at + 1
        return super().get_state()


class StateIsAnObject(Good):
    def get_state(self):
        return {"all": self}


# With gpld's own interface.


class Ours:
    """Counts to 5."""

    spec = EnvSpec({"count": ArraySpec((1,), np.dtype(np.float32))}, 1, 1, 5)

    def __init__(self, seed):
        self.time = 0

    def reset(self):
        self.time = 0
        return single_timestep(self.observe(), is_first=True)

    def step(self, action):
        self.time += 1
        return single_timestep(self.observe(), reward=1.0, is_last=self.time == 5)

    def observe(self):
        return {"count": np.full(1, self.time, np.float32)}

    def get_state(self):
        return {"time": self.time}

    def set_state(self, state):
        self.time = state["time"]

    def close(self):
        pass


class OursWithoutFirst(Ours):
    def reset(self):
        return super().reset()._replace(is_first=np.asarray(False))


class OursWithRewardAtReset(Ours):
    def reset(self):
        return super().reset()._replace(reward=np.asarray(1, np.float32))


class OursTerminalWithoutLast(Ours):
    def step(self, action):
        timestep = super().step(action)
        return timestep._replace(is_terminal=np.asarray(self.time == 2))


class OursInFloat64(Ours):
    def observe(self):
        return {"count": np.full(1, self.time, np.float64)}


class OursWithUnknownArray(Ours):
    def observe(self):
        return super().observe() | {"more": np.zeros(1, np.float32)}


class OursBeyondItsLimit(Ours):
    spec = Ours.spec._replace(episode_steps=4)


class OursSettingJax(Ours):
    def step(self, action):
        jax.config.update("jax_debug_nans", True)
        return super().step(action)


class OursWithTuples(Ours):
    def step(self, action):
        return tuple(super().step(action))


class Walk(dm_env.Environment):
    """Walks for 20 steps."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def observation_spec(self):
        return {"at": specs.BoundedArray((2,), np.float64, -99, 99)}

    def action_spec(self):
        return specs.BoundedArray((2,), np.float32, -1, 1)

    def reset(self):
        self.at, self.time = self.rng.normal(size=2), 0
        return dm_env.restart({"at": self.at})

    def step(self, action):
        self.at, self.time = self.at + action, self.time + 1
        if self.time == 20:
            return dm_env.termination(1.0, {"at": self.at})
        return dm_env.transition(1.0, {"at": self.at})


class WalkOutOfBounds(Walk):
    def observation_spec(self):
        return {"at": specs.BoundedArray((2,), np.float64, -0.01, 0.01)}


class WalkUnseeded(Walk):
    def __init__(self):
        self.rng = np.random.default_rng()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    monkeypatch.setattr(trials, "_SECONDS", 0.02)
    monkeypatch.setattr(check, "_NUM_STEPS", 150)


def findings(make, **options):
    """What is not in order, by the names of the rules, and all that were tried."""
    gpld.register("mine", make)
    found = dict(check_env("mine", **options))
    assert all(finding.text.isprintable() for finding in found.values())
    return {name: x for name, x in found.items() if x.verdict != "ok"}, list(found)


BROKEN = [
    (RaisesAtStep, "steps", "`step` raised RuntimeError: the arm is off (test_check.py, line "),
    (OldInterface, "steps", "(observation, reward, terminated, truncated, info), got 4 values"),
    (OldSeed, "steps", "; it must take `seed` and `options`, as in Gymnasium since 0.26"),
    (OldReset, "steps", "`reset` must return (observation, info), got dict, at the first reset"),
    (RaisesAtClose, "steps", "`close` raised OSError: no port"),
    (KeyMissing, "observations", "observation 'where' is missing, at step 4"),
    (OtherShape, "observations", "'at' has shape (3,), at step 4, but (2,) was announced"),
    (WordsForNumbers, "dtypes", "'where' is float64, at the first reset, but int64 was announced"),
    (ClassOutOfRange, "range", "'where' is 0, at the first reset, outside [1, 3]"),
    (NotANumber, "finite", "observation 'at' is NaN, at the first reset"),
    (InfiniteReward, "finite", "the reward is infinite, at step 5"),
    (NoReward, "rewards", "the reward is None, at step 5; return one number"),
    (TwoRewards, "rewards", "the reward is array([0., 0.]), at step 1"),
    (FlagIsNone, "order", "`terminated` is None, at step 1; return True or False"),
    (ForgetsToStartAnew, "length", "every episode but the first ends at its first step"),
    (DrawsOfItself, "determinism", "differ in observation 'at' at step 0; draw only from"),
    (RemembersInItsClass, "determinism", "differ in observation 'at' at step 0"),
    (StateForgets, "state", "does not go on as it did: `is_last` at step"),
    (StateHasATuple, "state", "observation 'at' at step 0 after the state; let it hold all"),
    (ExitsAtStep, "steps", "`step` raised SystemExit: bye (test_check.py, line "),
    (StateIsAlive, "state", "a state changes while its environment goes on; return copies in it"),
    (StateMovesIt, "state", "taking a state changes what follows: observation 'at' at step 0"),
    (StateIsAnObject, "state", "`get_state` must return dictionaries and lists of NumPy arrays"),
    (OursWithoutFirst, "order", "`is_first` is False, at the first reset, which is a reset"),
    (OursWithRewardAtReset, "rewards", "the reward is 1.0, at the first reset, a reset"),
    (OursTerminalWithoutLast, "order", "`is_terminal` without `is_last`, at step 2"),
    (OursInFloat64, "dtypes", "'count' is float64, at the first reset, but `spec` says float32"),
    (OursWithUnknownArray, "observations", "'more' is not in `spec`, at the first reset"),
    (OursBeyondItsLimit, "length", "an episode goes on, at step 5, after the 4 steps of its limit"),
    (OursWithTuples, "steps", "it must return a gpld.envs.TimeStep, got tuple"),
    (WalkUnseeded, "determinism", "differ in observation 'at' at step 0"),
]


@pytest.mark.parametrize(
    ("make", "rule", "message"), BROKEN, ids=[make.__name__ for make, _, _ in BROKEN]
)
def test_a_broken_rule_is_found_by_itself(make, rule, message):
    wrong, _ = findings(make)
    assert {name: x.verdict for name, x in wrong.items() if name != "state" or name == rule} == {
        rule: "broken"
    }
    assert message in wrong[rule].text


HINTS = [
    (KeyUnannounced, "observations", "speed: not in the space, and so not seen"),
    (
        Float64ForFloat32,
        "dtypes",
        "observation 'at' is float64, not float32 as announced: conv",
    ),
    (OutOfBounds, "range", "observation 'at' leaves the bounds, at the first reset"),
    (WalkOutOfBounds, "range", "observation 'at' leaves the bounds, at the first reset"),
    (OneBuffer, "buffers", "at: overwritten by the next step after it was returned"),
    (NeverEnds, "length", "no episode ended within 150 steps; `--env.episode_steps` sets"),
    (IgnoresTheSeed, "seed", "episodes are random, but the same with another seed"),
]


@pytest.mark.parametrize(
    ("make", "rule", "message"), HINTS, ids=[make.__name__ for make, _, _ in HINTS]
)
def test_what_training_copes_with_is_a_hint(make, rule, message, monkeypatch):
    monkeypatch.delitem(trials.TRIALS, "workers")
    wrong, _ = findings(make)
    if issubclass(make, Walk):
        assert "begin anew at a resume" in wrong.pop("state").text
    assert {name: x.verdict for name, x in wrong.items()} == {rule: "hint"}
    assert message in wrong[rule].text


@pytest.mark.parametrize("observations", ["pixels", "both"])
def test_pictures_are_checked_where_they_are_asked_for(observations, monkeypatch):
    monkeypatch.delitem(trials.TRIALS, "workers")
    assert findings(Drawn, observations=observations)[0] == {}
    wrong, _ = findings(DrawnInTwoSizes, observations=observations)
    assert set(wrong) == {"observations"}
    assert "must have shape (32, 32, 3) and dtype uint8" in wrong["observations"].text
    assert "got (32, 48, 3) and uint8" in wrong["observations"].text
    wrong, _ = findings(FailsToDraw, observations=observations)
    assert set(wrong) == {"steps"}
    assert wrong["steps"].text.startswith("`render` raised RuntimeError: no light")


def test_a_seed_that_is_ignored_is_seen_without_a_second_episode(monkeypatch):
    class Long(IgnoresTheSeed, NeverEnds):
        pass

    monkeypatch.delitem(trials.TRIALS, "workers")
    wrong, _ = findings(Long, episode_steps=1000)
    assert set(wrong) == {"seed"}


@pytest.mark.parametrize("make", [Good, Ours, Memory])
def test_what_is_right_passes_every_rule(make, monkeypatch):
    monkeypatch.delitem(trials.TRIALS, "workers")
    assert findings(make)[0] == {}


def test_action_repeat_and_time_limit_are_those_of_training(monkeypatch):
    monkeypatch.delitem(trials.TRIALS, "workers")
    gpld.register("mine", NeverEnds)
    found = dict(check_env("mine", action_repeat=3, episode_steps=7))
    assert {x.verdict for x in found.values()} == {"ok"}
    assert found["length"].text == "from 7 to 7 steps, at most 7"


def test_a_dm_env_passes_and_its_episodes_begin_anew(monkeypatch):
    wrong, tried = findings(Walk)
    assert set(wrong) == {"state"}
    assert wrong["state"].verdict == "hint"
    assert tried[-1] == "workers"


def test_an_environment_of_gymnasium_passes_in_workers_too():
    found = dict(check_env("gymnasium:CartPole-v1"))
    assert {x.verdict for x in found.values()} == {"ok"}
    assert "in 2 worker processes" in found["workers"].text


def test_what_no_worker_can_make_is_said():
    wrong, _ = findings(lambda: Good())
    assert set(wrong) == {"workers"}
    assert "the only one that can make it" in wrong["workers"].text


def test_what_a_worker_fails_to_make_is_broken(monkeypatch, tmp_path):
    (tmp_path / "here_alone.py").write_text(
        "import os\nimport gymnasium\n"
        f"def make():\n    assert os.getpid() == {os.getpid()}, 'elsewhere'\n"
        "    return gymnasium.make('CartPole-v1')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    gpld.register("here_alone:make")
    found = dict(check_env("here_alone:make"))
    assert {name for name, x in found.items() if x.verdict == "broken"} == {"workers"}
    assert "elsewhere" in found["workers"].text


def test_what_cannot_be_made_ends_the_check():
    def make():
        raise RuntimeError("no licence")

    wrong, tried = findings(make)
    assert tried == ["making"]
    assert wrong["making"].text.startswith("it raised RuntimeError: no licence (test_check.py")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (StateIsAnObject, "`get_state` must return"),
        (StateOfAPlayer, "it raised TypeError: StateOfAPlayer.get_state() missing 1 required"),
        (StateInTwoParts, "it raised TypeError: StateInTwoParts.set_state() missing 1 required"),
    ],
)
def test_the_quick_check_looks_at_a_state(make, message):
    gpld.register("mine", make)
    rule, finding = check_quickly(lambda seed: make_env("mine", seed=seed), 0)
    assert (rule, finding.verdict) == ("state", "broken")
    assert message in finding.text


@pytest.mark.parametrize("make", [SetsJaxAtStep, OursSettingJax])
def test_settings_of_jax_that_a_step_changes_are_found_and_put_back(make):
    gpld.register("mine", make)
    for _ in range(2):
        rule, finding = check_quickly(lambda seed: make_env("mine", seed=seed), 0)
        assert (rule, finding.verdict) == ("steps", "broken")
        assert "its code sets JAX_DEBUG_NANS to True" in finding.text
        assert jax.config.jax_debug_nans is False


def test_slow_first_steps_leave_time_for_others():
    """As those of environments in JAX, which are compiled in them."""

    class Slow(Good):
        def observe(self):
            time.sleep(0.3 if self.time <= 1 else 0)
            return super().observe()

    gpld.register("mine", Slow)
    walk = take_walk(lambda seed: make_env("mine", seed=seed), 0, num_steps=9, seconds=0.2)
    assert len(walk.timesteps) == 9


def test_the_quick_check_makes_one_environment_and_closes_it():
    made = []

    class Counted(RaisesAtStep):
        def __init__(self):
            made.append(self)
            self.closed = False

        def close(self):
            self.closed = True

    gpld.register("mine", Counted)
    rule, finding = check_quickly(lambda seed: make_env("mine", seed=seed), 0)
    assert (rule, finding.verdict) == ("steps", "broken")
    assert [env.closed for env in made] == [True]
    assert check_quickly(lambda seed: Ours(seed), 0) is None
