from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from gpld.envs import ArraySpec, EnvSpec, TimeStep
from gpld.envs.functional.auto_reset import AutoReset
from gpld.envs.functional.env import FunctionalEnv

LIMIT = 7


class WalkState(NamedTuple):
    position: jax.Array
    elapsed: jax.Array
    key: jax.Array
    timestep: TimeStep


class RandomWalk:
    """Begins anywhere, drifts with the action and noise, terminates beyond 2."""

    spec = EnvSpec({"position": ArraySpec((1,), np.dtype(np.float32))}, 1, 1, LIMIT)

    def reset(self, key):
        key, start_key = jr.split(key)
        position = jr.uniform(start_key)
        flag = jnp.zeros((), bool)
        timestep = TimeStep({"position": position[None]}, jnp.zeros(()), ~flag, flag, flag)
        return WalkState(position, jnp.zeros((), jnp.int32), key, timestep)

    def step(self, state, action):
        key, noise_key = jr.split(state.key)
        position = state.position + action[0] + 0.5 * jr.normal(noise_key)
        elapsed = state.elapsed + 1
        is_terminal = position > 2
        is_last = is_terminal | (elapsed == LIMIT)
        is_first = jnp.zeros((), bool)
        timestep = TimeStep({"position": position[None]}, -position, is_first, is_last, is_terminal)
        return WalkState(position, elapsed, key, timestep)


class SlowLoop:
    """What `AutoReset` does, one environment after the other."""

    def __init__(self, num_envs, key, left):
        self.env = RandomWalk()
        self.reset, self.step_env = jax.jit(self.env.reset), jax.jit(self.env.step)
        self.keys = list(jr.split(key, num_envs))
        self.left = list(left)
        self.states = [None] * num_envs

    def step(self, action):
        rows = []
        for i, state in enumerate(self.states):
            if state is None:
                self.keys[i], reset_key = jr.split(self.keys[i])
                state = self.reset(reset_key)
            else:
                state = self.step_env(state, action[i])
                self.left[i] -= 1
            timestep = state.timestep
            if self.left[i] == 0:
                timestep = timestep._replace(is_last=jnp.array(True))
            rows.append(timestep)
            if timestep.is_last:
                state, self.left[i] = None, LIMIT
            self.states[i] = state
        return jax.tree.map(lambda *x: np.stack(x), *rows)


@pytest.mark.parametrize("num_envs", [1, 5])
@pytest.mark.parametrize("stagger", [False, True])
def test_equals_a_slow_loop(num_envs, stagger, getkey):
    envs = AutoReset(RandomWalk(), num_envs, stagger=stagger)
    state, step = envs.init(key := getkey()), jax.jit(envs.step)
    env_key, stagger_key = jr.split(key)
    left = np.full(num_envs, LIMIT)
    if stagger:
        left = np.array(jr.randint(stagger_key, (num_envs,), 1, LIMIT + 1))
    slow = SlowLoop(num_envs, env_key, left)
    num_first = np.zeros(num_envs, int)
    for action in 0.7 * jr.normal(getkey(), (60, num_envs, 1)):
        state, actual = step(state, action)
        jax.tree.map(np.testing.assert_array_equal, actual, slow.step(action))
        num_first += np.asarray(actual.is_first)
    assert step._cache_size() == 1
    assert np.all(num_first > 5)


@pytest.mark.parametrize("chunk_size", [2, 3, 8])
def test_chunks_change_no_result(chunk_size, getkey):
    key, actions = getkey(), jr.normal(getkey(), (20, 8, 1))

    def rollout(chunk_size):
        envs = AutoReset(RandomWalk(), 8, stagger=True)
        envs._chunk_size = chunk_size
        return jax.jit(lambda s: jax.lax.scan(envs.step, s, actions)[1])(envs.init(key))

    jax.tree.map(np.testing.assert_array_equal, rollout(chunk_size), rollout(1))


def test_staggered_episodes_are_out_of_phase_and_later_ones_whole(getkey):
    envs = AutoReset(RandomWalk(), 500, stagger=True)
    still = jnp.full((3 * LIMIT, 500, 1), -3.0)  # nothing terminates

    def step(state, action):
        state, timestep = envs.step(state, action)
        return state, (timestep, envs.cut(state))

    _, (steps, cut) = jax.jit(lambda s: jax.lax.scan(step, s, still))(envs.init(getkey()))
    first_last = np.argmax(np.asarray(steps.is_last), axis=0)
    # What ends by the draw alone is cut; the draw of the whole length cuts nothing.
    expected = np.arange(3 * LIMIT)[:, None] == first_last
    np.testing.assert_array_equal(cut.interrupted, expected & (first_last < LIMIT))
    assert not cut.spoilt.any()
    counts = np.bincount(first_last, minlength=LIMIT + 1)
    assert counts[0] == 0
    # Uniform: 500 / 7 = 71 each, standard deviation 8.
    assert np.all(abs(counts[1:] - 500 / LIMIT) < 45)
    for i in range(500):
        lasts = np.flatnonzero(steps.is_last[:, i])
        assert set(np.diff(lasts)) == {LIMIT + 1}
        firsts = np.flatnonzero(steps.is_first[:, i])
        np.testing.assert_array_equal(firsts, [0, *lasts[lasts < 3 * LIMIT - 1] + 1])


def test_a_reset_is_computed_only_where_one_is_due(getkey):
    calls = []

    class Counted(RandomWalk):
        def reset(self, key):
            jax.debug.callback(lambda _: calls.append(1), jr.key_data(key))
            return super().reset(key)

    envs = AutoReset(Counted(), 6)
    envs._chunk_size = 2
    state, step = envs.init(getkey()), jax.jit(envs.step)
    counts = []
    for _ in range(2 * (LIMIT + 1)):
        state, timestep = step(state, jnp.full((6, 1), -3.0))
        jax.block_until_ready(timestep)
        jax.effects_barrier()
        counts.append(len(calls))
        calls.clear()
    assert counts == 2 * [6, *LIMIT * [0]]


def test_protocol_and_arguments():
    assert isinstance(RandomWalk(), FunctionalEnv)
    with pytest.raises(ValueError, match="`num_envs` must be at least 1, got 0"):
        AutoReset(RandomWalk(), 0)
