"""A vector environment continues in another, whatever the number of workers."""

import copy
import itertools

import numpy as np
import pytest

from gpld.checkpoints import tree_file
from gpld.envs import WorkerError, make_vector_env

pytestmark = pytest.mark.slow

NUM_ENVS = 3
# Time step 0 is a reset, and 10 the last of an episode.
ARGUMENTS = {"num_envs": NUM_ENVS, "seed": 3, "action_repeat": 100}


def make(task="reacher_hard", workers=0):
    return make_vector_env(task, **ARGUMENTS, workers=workers, backend="dmc")


def random_actions(env, num_steps, seed=0):
    shape = (num_steps, env.num_envs, env.spec.action_size)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def assert_same(actual, expected):
    np.testing.assert_equal([x._asdict() for x in actual], [x._asdict() for x in expected])


@pytest.mark.parametrize(
    ("before", "after", "num_steps", "pending"),
    [
        *itertools.product([0], [0], [0, 4, 11], [False, True]),
        (0, 2, 4, False),
        (0, 2, 0, True),
        (2, 0, 4, True),
        (2, 1, 11, True),
    ],
)
def test_continues_with_any_number_of_workers(before, after, num_steps, pending):
    with make(workers=before) as env, make(workers=after) as other:
        actions = random_actions(env, 16)
        for action in actions[:num_steps]:
            env.step(action)
        if pending:
            env.send(actions[num_steps])
        state = env.get_state()
        kept = copy.deepcopy(state)

        def run(env):
            received = [env.recv()] if pending else []
            return [*received, *(env.step(action) for action in actions[num_steps + pending :])]

        expected = run(env)
        assert np.all(np.any([x.is_first for x in expected], axis=0))
        np.testing.assert_equal(state, kept)  # it shares no memory
        other.set_state(state)
        assert_same(run(other), expected)


def test_taking_a_state_changes_nothing():
    with make(workers=1) as env, make() as undisturbed:
        for action in random_actions(env, 14):
            env.get_state()
            env.send(action)
            env.get_state()
            env.get_state()
            assert_same([env.recv()], [undisturbed.step(action)])


def test_episodes_of_different_lengths_continue():
    # Episodes are terminated at different times, so few environments reset together.
    with make_vector_env("probe_termination", num_envs=8, seed=0) as env:
        actions = 0.8 + random_actions(env, 60)
        states, expected = [], []
        for action in actions:
            states.append(env.get_state())
            expected.append(env.step(action))
    assert any(0 < step.is_last.sum() < 8 for step in expected)
    for start in (7, 20, 33):
        with make_vector_env("probe_termination", num_envs=8, seed=0) as env:
            env.set_state(states[start])
            assert_same([env.step(action) for action in actions[start:]], expected[start:])


def test_a_step_is_returned_once():
    with make() as env, make() as other:
        action = random_actions(env, 1)[0]
        env.send(action)
        other.set_state(env.get_state())
        for x in (env, other):
            with pytest.raises(RuntimeError, match="`recv` must be called before `send`"):
                x.send(action)
            first = x.recv()
            first.observation["position"][:] = 0  # the caller's own
            with pytest.raises(RuntimeError, match="`send` must be called before `recv`"):
                x.recv()
        assert_same([env.step(action)], [other.step(action)])


def test_mistakes_are_named():
    with make() as env, make_vector_env("reacher_hard", num_envs=2, seed=0) as smaller:
        with pytest.raises(ValueError, match="`state` must hold 3 environments, got 2"):
            env.set_state(smaller.get_state())
        state = env.get_state()
        env.send(random_actions(env, 1)[0])
        with pytest.raises(RuntimeError, match="`recv` must be called before `set_state`"):
            env.set_state(state)
    for call in (env.get_state, lambda: env.set_state(state)):
        with pytest.raises(RuntimeError, match="closed"):
            call()


@pytest.mark.parametrize("task", ["dog_fetch", "probe_memory"])
def test_holds_nothing_but_arrays_numbers_and_text(task):
    def check(x):
        if type(x) is dict:
            assert all(type(key) is str for key in x)
            for value in x.values():
                check(value)
        else:
            assert x is None or type(x) in (np.ndarray, bool, int, float, str)
            assert getattr(x, "dtype", None) != np.dtype(object)

    with make_vector_env(task, num_envs=2, seed=0) as env:
        check(env.get_state())
        env.step(random_actions(env, 1)[0])
        check(env.get_state())


@pytest.mark.parametrize("workers", [0, 2])
def test_state_of_another_task_is_refused(workers):
    with make("cartpole_balance") as env:
        state = env.get_state()
    with make(workers=workers) as env:
        message = "`state` must be one of reacher_hard, got one of cartpole_balance"
        with pytest.raises(WorkerError if workers else ValueError, match=message):
            env.set_state(state)


def test_states_of_functional_environments_go_on_from_a_file(tmp_path):
    """Where numbers without axes have become Python's."""
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 3, 1)).astype(np.float32)
    arguments = {"num_envs": 3, "seed": 1, "backend": "mjx", "stagger": True}
    with make_vector_env("probe_memory", **arguments) as envs:
        for action in actions[:5]:
            envs.step(action)
        (tmp_path / "state").write_bytes(tree_file.dump(envs.get_state()))
        expected = [envs.step(action) for action in actions[5:]]
    with make_vector_env("probe_memory", **arguments) as envs:
        envs.set_state(tree_file.load(tmp_path / "state"))
        for action, timestep in zip(actions[5:], expected, strict=True):
            np.testing.assert_equal(envs.step(action)._asdict(), timestep._asdict())
