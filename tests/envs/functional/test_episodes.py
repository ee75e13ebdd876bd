"""Repeated actions and time limits of functional environments."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from functional_target import Target

from gpld.envs import FunctionalEnv
from gpld.envs.functional.auto_reset import AutoReset
from gpld.envs.functional.episodes import Episodes

LEFT, RIGHT = jnp.int32(0), jnp.int32(1)


def episode(env, actions, seed=0):
    """Time steps from a reset up to the end."""
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    states = [reset(jr.key(seed))]
    for action in actions:
        states.append(step(states[-1], action))
        if states[-1].timestep.is_last:
            break
    return [jax.device_get(state.timestep) for state in states]


def test_repeated_actions_are_single_ones_up_to_the_end():
    """Rewards are summed, and what would follow the end is not taken."""
    for seed in range(20):
        single = episode(Target(9), [RIGHT] * 100, seed)
        repeated = episode(Episodes(Target(9), repeats=3), [RIGHT] * 100, seed)
        assert isinstance(Episodes(Target()), FunctionalEnv)
        ends = [0, *range(3, len(single) - 1, 3), len(single) - 1]
        assert len(ends) == len(repeated)
        for old, end, actual in zip([0, *ends], ends, repeated, strict=False):
            assert actual.reward == sum(x.reward for x in single[old + 1 : end + 1])
            assert actual._replace(reward=0) == single[end]._replace(reward=0)
        assert repeated[-1].is_terminal


def test_a_time_limit_truncates():
    env = Episodes(Target(), repeats=2, limit=7)
    assert (env.spec.episode_steps, env.spec.action_repeat) == (4, 2)
    steps = episode(env, [LEFT] * 10)
    assert [bool(x.is_last) for x in steps] == [False] * 4 + [True]
    assert not steps[-1].is_terminal
    assert steps[0].is_first
    assert not any(x.is_first for x in steps[1:])
    # Ends that are the task's stay such at the limit.
    for seed in range(20):
        single = episode(Target(), [RIGHT] * 100, seed)
        [*_, last] = episode(Episodes(Target(), limit=len(single) - 1), [RIGHT] * 100, seed)
        assert last == single[-1]
        assert last.is_terminal


def test_without_a_limit_episodes_go_on():
    """In many environments too, and none of them is cut short."""
    envs = AutoReset(Target(), 2)
    step = jax.jit(envs.step)
    state, _ = step(envs.init(jr.key(0)), jnp.zeros(2, jnp.int32))
    for _ in range(50):
        state, timestep = step(state, jnp.zeros(2, jnp.int32))
        assert not timestep.is_last.any()
    lasts = 0
    for _ in range(50):
        state, timestep = step(state, jnp.ones(2, jnp.int32))
        lasts += int(timestep.is_last.sum())
        np.testing.assert_array_equal(timestep.is_last, timestep.is_terminal)
        assert not envs.cut(state).interrupted.any()
    assert lasts > 5
