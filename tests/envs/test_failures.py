"""Numbers that are not finite truncate their episode, count, and are shown to nobody."""

import functools
import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.envs import WorkerError, make_vector_env
from gpld.envs.dmc.env import DMControl
from gpld.envs.failures import Failures, find_spoilt
from gpld.envs.functional.auto_reset import AutoReset
from gpld.envs.functional.probe import TASKS as FUNCTIONAL, Memory as FunctionalMemory
from gpld.envs.probe import Memory
from gpld.envs.timestep import TimeStep
from gpld.envs.vector.batch import BatchGroup
from gpld.envs.vector.group import EnvGroup
from gpld.envs.vector.jax_group import FunctionalGroup
from gpld.envs.vector.vector import VectorEnv
from gpld.envs.vector.worker import Worker

ACTION = np.zeros((3, 1), np.float32)
# Of 3 steps after the reset, the one with the bad number; 0 is the reset itself.
MOMENTS = [0, 1, 3]
BAD = {"signal": np.nan, "time": np.inf, "reward": -np.inf}


class Spoilt(Memory):
    """A probe whose second episode has one number that is not finite."""

    def __init__(self, moment, place, *, seed):
        super().__init__(seed=seed)
        self.moment, self.place, self.episode = moment, place, 0

    def reset(self):
        self.episode += 1
        return self._spoil(super().reset())

    def step(self, action):
        return self._spoil(super().step(action))

    def _spoil(self, timestep):
        if self.episode != 2 or self._elapsed != self.moment:
            return timestep
        value = np.float32(BAD[self.place])
        if self.place == "reward":
            return timestep._replace(reward=value)
        bad = np.full_like(timestep.observation[self.place], value)
        return timestep._replace(observation={**timestep.observation, self.place: bad})


class FunctionalSpoilt(FunctionalMemory):
    """The same for the environments whose first cue is negative, in each of their episodes."""

    def __init__(self, moment, place):
        self.moment, self.place = moment, place

    def _state(self, memory, signal, reward, elapsed, *, is_terminal):
        state = super()._state(memory, signal, reward, elapsed, is_terminal=is_terminal)
        timestep = state.timestep
        arrays = {**timestep.observation, "reward": timestep.reward}
        bad = (elapsed == self.moment) & (memory < 0)
        arrays[self.place] = jnp.where(bad, BAD[self.place], arrays[self.place])
        reward = arrays.pop("reward")
        return state._replace(timestep=timestep._replace(observation=arrays, reward=reward))


def vector_env(kind, moment, place, limit=3):
    """Three environments, of which the second gives a bad number; and the same without."""
    pairs = []
    for spoilt in (True, False):
        bad = functools.partial(Spoilt, moment, place) if spoilt else Memory
        if kind == "worker":
            groups = [
                Worker(Memory, [0], name="a"),
                Worker(bad, [1], name="b"),
                Worker(Memory, [2], name="c"),
            ]
        else:
            groups = [EnvGroup([Memory(seed=0), bad(seed=1), Memory(seed=2)])]
        pairs.append(VectorEnv(groups, task="probe_memory", max_failures=limit))
    return pairs


def select(timestep, index):
    return [timestep.observation[k][index] for k in ("signal", "time")] + [
        x[index] for x in timestep[1:]
    ]


def assert_truncated(before, cut, is_first):
    np.testing.assert_equal(
        select(cut, 1), [*select(before, 1)[:2], np.float32(0), is_first, True, False]
    )


@pytest.mark.parametrize(
    ("kind", "moment", "place"),
    [*itertools.product(["process"], MOMENTS, BAD), ("worker", 1, "signal")],
)
def test_the_episode_is_truncated_and_counted_and_others_go_on(kind, moment, place):
    env, undisturbed = vector_env(kind, moment, place)
    with env, undisturbed:
        actual = []
        for step in range(12):  # episodes take 4
            actual.append(env.step(ACTION))
            expected = undisturbed.step(ACTION)
            for index in (0, 2):
                np.testing.assert_equal(select(actual[-1], index), select(expected, index))
            bad = step == 4 + moment
            assert env.interrupted.tolist() == [False, bad, False]
            assert env.num_restarts == len(env.failures) == (step >= 4 + moment)
            assert all(np.isfinite(x).all() for x in actual[-1].observation.values())
        what = "a reward" if place == "reward" else f"an observation `{place}`"
        assert env.failures == [
            f"Environment 1 of probe_memory gave {what} that is not finite. Its episode is "
            "truncated."
        ]
        assert_truncated(actual[3 + moment], actual[4 + moment], moment == 0)
        firsts = [i for i, step in enumerate(actual) if step.is_first[1]]
        assert firsts[:3] == [0, 4, 5 + moment]


def test_one_more_than_allowed_ends_it_and_says_where():
    env, _ = vector_env("process", 1, "time", limit=0)
    for _ in range(5):
        env.step(ACTION)
    with pytest.raises(WorkerError) as error:
        env.step(ACTION)
    assert str(error.value) == (
        "Environment 1 of probe_memory gave an observation `time` that is not finite. It is one "
        "failure more than the 0 that `--env.max_restarts` allows."
    )
    other, _ = vector_env("process", 1, "time", limit=1)
    with other:
        other.set_state(env.get_state())
        assert other.num_restarts == 1
    with pytest.raises(RuntimeError, match="closed"):
        env.step(ACTION)


@pytest.mark.parametrize("pending", [False, True])
def test_states_go_on_with_the_reset(pending):
    env, _ = vector_env("process", 1, "signal")
    with env:
        for _ in range(5):
            env.step(ACTION)
        if pending:
            env.send(ACTION)
        else:
            env.step(ACTION)
        state = env.get_state()
        if pending:
            env.recv()
        expected = [env.step(ACTION) for _ in range(6)]
    assert expected[0].is_first.tolist() == [False, True, False]
    other, _ = vector_env("process", 1, "signal")
    with other:
        other.set_state(state)
        assert other.num_restarts == 1
        if pending:
            assert other.recv().is_last[1]
            assert other.interrupted.tolist() == [False, True, False]
        for timestep in expected:
            np.testing.assert_equal(other.step(ACTION)._asdict(), timestep._asdict())


def dmc_and_batch(task, seeds):
    dmc = [DMControl(task, action_repeat=1, seed=seed) for seed in seeds]
    batch = BatchGroup(task, seeds, action_repeat=1, threads=1)
    return dmc, batch


@pytest.mark.parametrize("place", ["position", "reward"])
def test_engines_of_the_suite_deal_with_it_alike(place, monkeypatch):
    """Physics that diverge are the agent's doing; a number that is not finite is a fault."""
    dmc, batch = dmc_and_batch("cartpole_balance", [1, 2])
    calls = [0]
    task, own = dmc[1]._env.task, batch._task
    observe, reward, get_observation, get_reward = (
        own.observe,
        own.reward,
        task.get_observation,
        task.get_reward,
    )

    def is_due():
        return calls[0] == 3

    def spoilt_get_observation(physics):
        found = get_observation(physics)
        return {**found, "position": np.full(3, np.nan)} if is_due() else found

    def spoilt_observe(physics):
        found = {name: np.array(x) for name, x in observe(physics).items()}
        if is_due():
            found["position"][1] = np.nan
        return found

    def spoilt_reward(physics):
        found = np.array(reward(physics))
        if is_due():
            found[1] = np.inf
        return found

    if place == "position":
        monkeypatch.setattr(task, "get_observation", spoilt_get_observation)
        monkeypatch.setattr(own, "observe", spoilt_observe)
    else:
        monkeypatch.setattr(
            task, "get_reward", lambda physics: np.inf if is_due() else get_reward(physics)
        )
        monkeypatch.setattr(own, "reward", spoilt_reward)
    groups = (EnvGroup(dmc), batch)
    envs = [VectorEnv([group], task="cartpole_balance", max_failures=2) for group in groups]
    before = None
    for step in range(8):
        calls[0] = step
        timesteps = [env.step(ACTION[:2]) for env in envs]
        np.testing.assert_equal(timesteps[0]._asdict(), timesteps[1]._asdict())
        bad = step == 3
        for env in envs:
            assert env.interrupted.tolist() == [False, bad]
            assert env.num_restarts == (step >= 3)
        if bad:
            for name, value in timesteps[0].observation.items():
                np.testing.assert_array_equal(value[1], before.observation[name][1])
            assert (timesteps[0].reward[1], timesteps[0].is_last[1]) == (0, True)
        assert timesteps[0].is_first[1] == (step in (0, 4))
        before = timesteps[0]
    assert envs[0].failures == envs[1].failures
    for env in envs:
        env.close()


@pytest.mark.parametrize(("moment", "place"), [(0, "time"), (1, "signal"), (3, "reward")])
def test_functional_environments_on_host_and_device(moment, place):
    """The same time steps, interrupted at the same moments, as `cut` says."""
    num_envs, num_steps = 8, 12
    envs = AutoReset(FunctionalSpoilt(moment, place), num_envs)
    group = FunctionalGroup(AutoReset(FunctionalSpoilt(moment, place), num_envs), seed=5)
    state, step = envs.init(jr.key(5)), jax.jit(envs.step)
    count = 0
    with VectorEnv([group], max_failures=1000) as host:
        before = host.newest
        for _ in range(num_steps):
            action = np.zeros((num_envs, 1), np.float32)
            expected = host.step(action)
            state, timestep = step(state, jnp.asarray(action))
            cut = envs.cut(state)
            np.testing.assert_array_equal(cut.interrupted, host.interrupted)
            np.testing.assert_array_equal(cut.spoilt > 0, host.interrupted)
            assert set(np.unique(cut.spoilt)) <= {0, 1 + ["signal", "time", "reward"].index(place)}
            for name, value in expected.observation.items():
                assert np.isfinite(timestep.observation[name]).all()
                # At a reset there may be no observation before that was finite.
                shown = ~host.interrupted if moment == 0 else slice(None)
                np.testing.assert_array_equal(timestep.observation[name][shown], value[shown])
                np.testing.assert_array_equal(
                    value[host.interrupted], before.observation[name][host.interrupted]
                )
            for actual, one in zip(timestep[1:], expected[1:], strict=True):
                np.testing.assert_array_equal(actual, one)
            assert expected.is_last[host.interrupted].all()
            assert not expected.reward[host.interrupted].any()
            count += host.interrupted.sum()
            before = expected
        assert host.num_restarts == count > 0


def test_registered_environments_count_to_the_limit(monkeypatch):
    monkeypatch.setitem(FUNCTIONAL, "probe_memory", lambda: FunctionalSpoilt(1, "signal"))
    env = make_vector_env("probe_memory", num_envs=8, seed=0, backend="mjx", max_restarts=5)
    action = np.zeros((8, 1), np.float32)
    message = "of probe_memory gave an observation `signal` that is not finite"
    with pytest.raises(WorkerError, match=message):  # noqa: PT012
        for _ in range(40):
            env.step(action)
    assert env.num_restarts == 5


def test_what_is_found_and_said():
    observation = {"b": np.zeros((3, 2), np.float32), "a": np.zeros((3, 1, 2), np.uint8)}
    flags = np.zeros(3, bool)
    timestep = TimeStep(observation, np.zeros(3, np.float32), flags, flags, flags)
    assert find_spoilt(timestep).tolist() == [0, 0, 0]
    observation["b"][1, 1] = np.nan
    timestep.reward[:] = [0, np.inf, -np.inf]
    assert find_spoilt(timestep).tolist() == [0, 2, 3]
    failures = Failures("it", Memory(seed=0).spec, limit=2)
    failures.add_spoilt(np.array([0, 3, 1, 0]))
    assert failures.count == 2
    assert failures.messages == [
        "Environment 1 of it gave a reward that is not finite. Its episode is truncated.",
        "Environment 2 of it gave an observation `signal` that is not finite. Its episode is "
        "truncated.",
    ]
    with pytest.raises(WorkerError, match=r"Environment 0 of it gave .* than the 2"):
        failures.add_spoilt(np.array([3, 3]))
    assert failures.count == 2
