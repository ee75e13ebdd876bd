"""Probes in JAX are the probes, and the names of functional tasks."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpld.envs import make_functional_env
from gpld.envs.functional.probe import TASKS

# First signals of probes that draw them.
RANDOM = {"probe_memory": {-1.0, 1.0}, "probe_discrete": {0.0, 1.0, 2.0}}


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_is_that_of_the_probe(task):
    """The same time steps for the same actions, from the same first observation."""
    env, rng = TASKS[task](), np.random.default_rng(0)
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    cues = set()
    for episode in range(8):
        state = reset(jax.random.key(episode))
        original = env.original(seed=0)
        expected = original.reset()
        shown = "number" if env.spec.discrete else "signal"
        cue = float(state.timestep.observation[shown].sum())
        cues.add(cue)
        if task in RANDOM:  # what is random is drawn by others
            original._cue = original._signal = cue
            expected = expected._replace(observation=original._observation())
        while True:
            actual = jax.device_get(tuple(state.timestep))
            jax.tree.map(np.testing.assert_array_equal, actual, tuple(expected))
            for value, other in zip(
                jax.tree.leaves(actual), jax.tree.leaves(tuple(expected)), strict=True
            ):
                assert value.dtype == other.dtype
            if expected.is_last:
                break
            action = rng.normal(size=1).astype(np.float32)
            if env.spec.discrete:
                action = np.asarray(rng.integers(env.spec.action_size), np.int32)
            state, expected = step(state, jnp.asarray(action)), original.step(action)
    assert cues == RANDOM.get(task, {0.0})


def test_what_has_no_functional_environment_is_refused():
    env = make_functional_env("probe_memory", num_envs=3, stagger=True)
    assert (env.num_envs, env.spec.episode_steps) == (3, 3)
    for task, reason in (("probe_picture", "this probe is no function"), ("dog_walk", "it has no")):
        with pytest.raises(ValueError, match=f"`backend` must be .* for {task}, got mjx: {reason}"):
            make_functional_env(task, num_envs=3)


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("walker_fly", {}, "`task` must be a known task, got 'walker_fly'; did you mean walker_"),
        ("probe_memory", {"action_repeat": 2}, "`action_repeat` must be 1 for probe_memory, got 2"),
        ("walker_walk", {"action_repeat": 0}, "`action_repeat` must be at least 1, got 0"),
        ("probe_memory", {"num_envs": 0}, "`num_envs` must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(task, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_functional_env(task, **({"num_envs": 1} | arguments))
