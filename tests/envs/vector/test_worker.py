"""Workers that die, hang or raise are replaced; what they did not share goes on."""

import functools
import os
import signal
import socket
import struct
import time

import numpy as np
import pytest

from gpld.envs import WorkerError, make_env, make_vector_env
from gpld.envs.dmc.env import DMControl
from gpld.envs.probe import Memory
from gpld.envs.vector.group import EnvGroup
from gpld.envs.vector.vector import VectorEnv
from gpld.envs.vector.worker import Worker

pytestmark = pytest.mark.slow

NUM_ENVS = 4


def make(task="probe_memory", *, workers=2, max_restarts=1, **arguments):
    return make_vector_env(
        task,
        num_envs=NUM_ENVS,
        seed=5,
        workers=workers,
        max_restarts=max_restarts,
        backend="dmc",
        **arguments,
    )


def restarted_env(task, index, *, restart):
    seed = np.random.SeedSequence((5, index, restart)).generate_state(1)[0]
    return make_env(task, seed=int(seed))


def workers_of(env):
    return env._groups


def kill(worker):
    worker._child._process.kill()
    worker._child._process.wait()


def kill_during_the_step(worker):
    # `send` happens in between.
    worker._child._process.send_signal(signal.SIGSTOP)
    return lambda: worker._child._process.kill()


def stop(worker, seconds=0.3):
    worker._child._limit_waiting(seconds)
    worker._child._process.send_signal(signal.SIGSTOP)
    os.waitpid(worker._child._process.pid, os.WUNTRACED)


def random_actions(num_steps, action_size=1):
    shape = (num_steps, NUM_ENVS, action_size)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def select(timestep, index):
    observation = {key: value[index] for key, value in timestep.observation.items()}
    return [observation, *(field[index] for field in timestep[1:])]


def assert_protocol(timesteps):
    """Every episode begins with `is_first`, ends with `is_last`, and is longer than that."""
    last = np.ones(NUM_ENVS, bool)
    for x in timesteps:
        np.testing.assert_array_equal(x.is_first, last)
        assert not np.any(x.is_first & x.is_last)
        assert not np.any(x.is_terminal & ~x.is_last)
        assert not np.any(x.reward[x.is_first])
        last = x.is_last


FAILURES = {
    "killed": (kill, "died with exit code -9."),
    "stopped": (stop, "did not answer within 300 seconds."),
    "killed during the step": (kill_during_the_step, "died with exit code -9."),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_episodes_of_a_failed_worker_are_truncated_and_others_go_on(failure):
    fail, reason = FAILURES[failure]
    task = "probe_delayed"  # 8 steps: time step 0 is a reset, 8 the last of an episode
    actions = random_actions(20)
    with make(task, max_restarts=0) as env:
        undisturbed = [env.step(action) for action in actions]
    timesteps = []
    with make(task) as env:
        for step, action in enumerate(actions):
            then = fail(workers_of(env)[1]) if step == 4 else None
            env.send(action)
            if then:
                then()
            timesteps.append(env.recv())
            expected = [False, False, True, True] if step == 4 else [False] * 4
            assert env.interrupted.tolist() == expected
            assert env.num_restarts == len(env.failures) == (step >= 4)
        assert env.failures == [
            f"Worker of environments 2 to 3 of {task} {reason} It was replaced, and its episodes "
            "are truncated."
        ]
        assert workers_of(env)[0]._child._process.poll() is None
    assert_protocol(timesteps)
    for actual, expected in zip(timesteps, undisturbed, strict=True):
        np.testing.assert_equal(select(actual, slice(2)), select(expected, slice(2)))
    for actual, expected in zip(timesteps[:4], undisturbed, strict=False):
        np.testing.assert_equal(actual._asdict(), expected._asdict())
    before, cut, first = (select(timesteps[step], slice(2, 4)) for step in (3, 4, 5))
    np.testing.assert_equal(cut[0], before[0])
    np.testing.assert_array_equal(cut[1:], [[0, 0], [0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(first[2], [1, 1])


@pytest.mark.parametrize("num_steps", [0, 4])
def test_environments_due_for_a_reset_lose_nothing(num_steps):
    with make("probe_memory") as env:  # 3 steps: time steps 0 and 4 are resets
        timesteps = [env.step(action) for action in random_actions(num_steps)]
        kill(workers_of(env)[0])
        first = env.step(random_actions(1)[0])
        assert env.num_restarts == 1
        assert not env.interrupted.any()
        assert first.is_first.all()
        for index in range(2):
            expected = restarted_env("probe_memory", index, restart=1).reset()
            assert first.observation["signal"][index] == expected.observation["signal"]
        timesteps += [first, *(env.step(action) for action in random_actions(9))]
        assert_protocol(timesteps)


def test_an_exception_of_one_environment_costs_its_worker():
    actions = random_actions(8)
    with make("cartpole_balance") as env:
        timesteps = [env.step(action) for action in actions[:3]]
        spoilt = actions[3].copy()
        spoilt[2] = np.nan
        timesteps.append(env.step(spoilt))
        assert env.interrupted.tolist() == [False, False, True, True]
        assert env.failures == [
            "Worker of environments 2 to 3 of cartpole_balance failed: ValueError: "
            "`action` must be finite, got [nan]. It was replaced, and its episodes are truncated."
        ]
        timesteps += [env.step(action) for action in actions[4:]]
    assert_protocol(timesteps)
    for index in (2, 3):  # new environments, from seeds of their own
        single = restarted_env("cartpole_balance", index, restart=1)
        expected = [single.reset(), *(single.step(action[index]) for action in actions[5:])]
        for actual, step in zip(timesteps[4:], expected, strict=True):
            np.testing.assert_equal(select(actual, index)[0], step.observation)


def test_too_many_failures_are_raised_as_they_are():
    action = np.zeros((NUM_ENVS, 1), np.float32)
    env = make(max_restarts=2)
    env.step(action)
    for victim in (1, 0):
        kill(workers_of(env)[victim])
        env.step(action)
    assert env.num_restarts == 2
    processes = [worker._child._process for worker in workers_of(env)]
    kill(workers_of(env)[1])
    message = "Worker of environments 2 to 3 of probe_memory died with exit code -9"
    with pytest.raises(WorkerError, match=message):
        env.step(action)
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL]
    with pytest.raises(RuntimeError, match="closed"):
        env.send(action)
    assert (env.num_restarts, len(env.failures)) == (2, 2)


def test_all_workers_may_fail_at_once():
    with make(max_restarts=2) as env:
        timesteps = [env.step(action) for action in random_actions(2)]
        for worker in workers_of(env):
            kill(worker)
        timesteps.append(env.step(random_actions(1)[0]))
        assert env.interrupted.all()
        assert [message.split()[3] for message in env.failures] == ["0", "2"]
        timesteps.append(env.step(random_actions(1)[0]))
        for index, restart in [(0, 1), (1, 1), (2, 2), (3, 2)]:
            expected = restarted_env("probe_memory", index, restart=restart).reset()
            signal_ = timesteps[-1].observation["signal"][index]
            assert signal_ == expected.observation["signal"]
    assert_protocol(timesteps)


def with_bad_replacements(num_bad, limit):
    """One worker, whose first replacements cannot make their environment."""
    starts = []

    def start(index, restart):
        starts.append((index, restart))
        bad = functools.partial(DMControl, "no_task")
        return Worker(bad if 1 <= restart <= num_bad else Memory, [restart], name="It")

    return VectorEnv([start(0, 0)], max_failures=limit, replace=start), starts


def test_a_replacement_that_fails_counts_as_well():
    env, starts = with_bad_replacements(1, limit=2)
    with env:
        action = np.zeros((1, 1), np.float32)
        env.step(action)
        kill(workers_of(env)[0])
        assert env.step(action).is_last
        assert env.step(action).is_first
        assert starts == [(0, 0), (0, 1), (0, 2)]
        assert env.num_restarts == 2
        died, failed = env.failures
    assert died.startswith("It died with exit code -9. It was replaced")
    assert failed.startswith("It failed: ValueError: `task` must be a task of the DeepMind")


def test_replacements_that_fail_are_given_up():
    env, starts = with_bad_replacements(9, limit=2)
    action = np.zeros((1, 1), np.float32)
    env.step(action)
    kill(workers_of(env)[0])
    with pytest.raises(WorkerError, match="It failed: ValueError: `task` must be"):
        env.step(action)
    assert len(starts) == 3
    assert workers_of(env) == []


def test_failures_at_the_very_first_are_raised_though_restarts_are_left():
    bad = Worker(functools.partial(DMControl, "no_task"), [0], name="Bad")
    with pytest.raises(WorkerError, match="Bad failed"):
        VectorEnv([bad], max_failures=9, replace=lambda *_: pytest.fail("restarted"))


def test_exceptions_without_workers_are_raised_though_restarts_are_left():
    with make("cartpole_balance", workers=0) as env:
        env.step(np.zeros((NUM_ENVS, 1), np.float32))
        with pytest.raises(ValueError, match="`action` must be finite"):
            env.step(np.full((NUM_ENVS, 1), np.nan, np.float32))
        assert env.num_restarts == 0


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("pending", [False, True])
def test_a_worker_that_fails_while_its_state_is_taken(pending, workers):
    actions = random_actions(12)
    with make("probe_delayed") as env:
        timesteps = [env.step(action) for action in actions[:3]]
        if pending:
            env.send(actions[3])
            env.get_state()  # receives the step, which is therefore not lost
        kill(workers_of(env)[1])
        state = env.get_state()
        assert state["num_restarts"] == env.num_restarts == 1
        assert state["renewed"].tolist() == [False, False, True, True]
        if pending:
            timesteps.append(env.recv())
            assert not env.interrupted.any()
        rest = actions[len(timesteps) :]
        continued = []
        for action in rest:
            continued.append(env.step(action))
            lost = len(continued) == 1
            assert env.interrupted.tolist() == [False, False, lost, lost]
    assert_protocol([*timesteps, *continued])
    cut = select(continued[0], slice(2, 4))
    np.testing.assert_equal(cut[0], select(timesteps[-1], slice(2, 4))[0])
    assert cut[3].all()
    with make("probe_delayed", workers=workers) as env:
        env.set_state(state)
        if pending:
            np.testing.assert_equal(env.recv()._asdict(), timesteps[-1]._asdict())
        for action, expected in zip(rest, continued, strict=True):
            np.testing.assert_equal(env.step(action)._asdict(), expected._asdict())


def test_a_step_in_which_a_worker_fails_may_be_part_of_the_state():
    actions = random_actions(6)
    with make("probe_memory") as env:
        env.step(actions[0])
        env.step(actions[1])
        kill(workers_of(env)[0])
        env.send(actions[2])
        state = env.get_state()
        assert not env.interrupted.any()  # that step is not returned yet
        expected = env.recv()
        assert env.interrupted.tolist() == [True, True, False, False]
        continued = [env.step(action) for action in actions[3:]]
    with make("probe_memory", workers=0) as env:
        env.set_state(state)
        assert env.num_restarts == 1
        assert env.failures == []
        np.testing.assert_equal(env.recv()._asdict(), expected._asdict())
        assert env.interrupted.tolist() == [True, True, False, False]
        for action, timestep in zip(actions[3:], continued, strict=True):
            np.testing.assert_equal(env.step(action)._asdict(), timestep._asdict())


def test_restarts_of_earlier_processes_count():
    action = np.zeros((NUM_ENVS, 1), np.float32)
    with make() as env:
        env.step(action)
        kill(workers_of(env)[1])
        env.step(action)
        state = env.get_state()
    with make(max_restarts=2) as env:
        env.set_state(state)
        kill(workers_of(env)[1])
        first = env.step(action)  # due for its reset
        expected = restarted_env("probe_memory", 3, restart=2).reset()
        assert first.observation["signal"][3] == expected.observation["signal"]
        assert env.num_restarts == 2
    env = make(max_restarts=1)
    env.set_state(state)
    kill(workers_of(env)[0])
    with pytest.raises(WorkerError, match="died"):
        env.step(action)


def test_timeout_reaches_the_workers():
    with make(timeout=12.5) as env:
        for worker in workers_of(env):
            assert worker._child._timeout == 12.5
            with socket.socket(fileno=os.dup(worker._child._connection.fileno())) as s:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    value = s.getsockopt(socket.SOL_SOCKET, option, 16)
                    assert struct.unpack("ll", value) == (12, 500_000)


def test_hung_workers_are_waited_for_together(monkeypatch):
    monkeypatch.setattr("gpld.machine.subprocesses._EXIT_SECONDS", 1)
    env = make_vector_env("probe_memory", num_envs=4, seed=0, workers=4)
    processes = [worker._child._process for worker in workers_of(env)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    env.close()
    assert time.monotonic() - start < 3  # and not four times one second
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 4


@pytest.mark.parametrize(
    "options", [{"max_restarts": 0}, {"max_restarts": 9, "replace_workers": False}]
)
def test_without_restarts_a_hung_worker_is_an_error(options):
    env = make(**options)
    stop(workers_of(env)[0])
    with pytest.raises(WorkerError, match="0 to 1 of probe_memory did not answer within 300 sec"):
        env.step(np.zeros((NUM_ENVS, 1), np.float32))
    assert workers_of(env) == []


def test_groups_reset_what_was_skipped():
    group = EnvGroup([Memory(seed=seed) for seed in range(2)])
    action = np.zeros((2, 1), np.float32)
    skip = np.array([False, True])
    group.send(action, skip)
    timestep = group.recv()
    assert timestep.is_first.tolist() == [True, False]
    assert timestep.is_last.tolist() == [False, True]
    group.send(action, ~skip & skip)
    assert group.recv().is_first.tolist() == [False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": 0}, "`timeout` must be positive, got 0"),
        ({"timeout": float("nan")}, "`timeout` must be positive, got nan"),
        ({"max_restarts": -1}, "`max_restarts` must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
