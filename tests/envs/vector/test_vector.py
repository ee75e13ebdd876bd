import functools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from gpld.envs import WorkerError, make_env, make_vector_env
from gpld.envs.dmc.env import DMControl
from gpld.envs.vector.group import EnvGroup
from gpld.envs.vector.vector import VectorEnv
from gpld.envs.vector.worker import Worker


def env_seed(seed, index):
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def random_actions(num_steps, num_envs, action_size):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (num_steps, num_envs, action_size)).astype(np.float32)


def processes(env):
    return [group._child._process for group in env._groups]


@pytest.mark.parametrize("workers", [0, 2])
def test_equals_single_environments_reset_by_hand(workers):
    num_envs = 3
    singles = [make_env("probe_termination", seed=env_seed(1, i)) for i in range(3)]
    reset_next = [True] * num_envs
    with make_vector_env("probe_termination", num_envs=num_envs, seed=1, workers=workers) as env:
        assert env.num_envs == num_envs
        assert env.spec == singles[0].spec
        num_lasts = np.zeros((2, num_envs))
        # Mostly positive, so that some episodes are terminated and some truncated.
        for action in 0.4 + 0.6 * random_actions(100, num_envs, 1):
            batch = env.step(action)
            for i, single in enumerate(singles):
                if reset_next[i]:
                    expected = single.reset()
                    assert batch.is_first[i]
                    assert batch.reward[i] == 0
                else:
                    expected = single.step(action[i])
                for key, value in expected.observation.items():
                    np.testing.assert_array_equal(batch.observation[key][i], value)
                assert [field[i] for field in batch[1:]] == list(expected[1:])
                reset_next[i] = bool(expected.is_last)
                num_lasts[int(expected.is_terminal), i] += expected.is_last
    assert np.all(num_lasts > 0)
    assert len(set(num_lasts.sum(0))) > 1  # the environments end independently


@pytest.mark.parametrize(("backend", "workers"), [("dmc", 0), ("dmc", 2), ("mjx", 0)])
def test_discrete_actions_are_integers(backend, workers):
    """In this process, over pipes and in a program: the best ones earn everything."""
    with make_vector_env(
        "probe_discrete", num_envs=5, seed=0, workers=workers, backend=backend
    ) as env:
        action = env.no_action()
        assert (action.shape, action.dtype) == ((5,), np.int32)
        rewards = []
        for _ in range(20):  # episodes take 10
            step = env.step(action)
            action, number = step.observation["number"], env.spec.observation["number"]
            assert action.dtype == number.dtype
            rewards.append(step.reward)
        np.testing.assert_array_equal(np.sum(rewards, axis=0), [18] * 5)
        assert len(set(action.tolist())) > 1  # of environments that differ
        with pytest.raises(ValueError, match=r"`action` must be of int32, got float32"):
            env.step(np.zeros(5, np.float32))
        with pytest.raises(ValueError, match=r"`action` must have shape \(5,\), got \(5, 1\)"):
            env.step(np.zeros((5, 1), np.float32))


def test_continuous_actions_are_floats():
    with make_vector_env("probe_memory", num_envs=2, seed=0) as env:
        assert (env.no_action().shape, env.no_action().dtype) == ((2, 1), np.float32)
        with pytest.raises(ValueError, match="`action` must be of float32, got int64"):
            env.step(np.zeros((2, 1), np.int64))


def test_shapes_and_dtypes():
    with make_vector_env("walker_walk", num_envs=3, seed=0) as env:
        timestep = env.step(np.zeros((3, 6), np.float32))
    for key, (shape, dtype, _) in env.spec.observation.items():
        value = timestep.observation[key]
        assert (value.shape, value.dtype) == ((3, *shape), dtype)
    assert [field.dtype for field in timestep[1:]] == [np.float32, bool, bool, bool]
    assert all(field.shape == (3,) for field in timestep[1:])


def trajectory(task, *, seed, workers, num_steps=40):
    with make_vector_env(
        task, num_envs=3, seed=seed, action_repeat=2, workers=workers, backend="dmc"
    ) as env:
        actions = random_actions(num_steps, 3, env.spec.action_size)
        return [env.step(action)._asdict() for action in actions]


def test_results_do_not_depend_on_the_number_of_workers():
    local, *remote = (
        trajectory("finger_turn_hard", seed=3, workers=workers) for workers in (0, 1, 2)
    )
    for timesteps in remote:
        np.testing.assert_equal(timesteps, local)


def test_seeds_decide_and_streams_differ():
    same, again, other = (
        trajectory("cartpole_balance", seed=seed, workers=0, num_steps=1)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_equal(same, again)
    positions = np.concatenate([t["observation"]["position"][:, 0] for t in (same, other)])
    assert len(set(positions)) == 6


def test_there_is_at_most_one_worker_per_environment():
    with make_vector_env("probe_constant", num_envs=2, seed=0, workers=5) as env:
        assert [group.num_envs for group in env._groups] == [1, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_time_steps_are_fresh_arrays(workers):
    with make_vector_env("probe_delayed", num_envs=2, seed=0, workers=workers) as env:
        action = np.ones((2, 1), np.float32)
        first = env.step(action)
        before = first.observation["time"].copy()
        second = env.step(action)
        assert not np.array_equal(second.observation["time"], before)
        np.testing.assert_array_equal(first.observation["time"], before)


def test_what_is_done_to_time_steps_changes_no_state():
    with make_vector_env("probe_delayed", num_envs=2, seed=0) as env:
        action = np.ones((2, 1), np.float32)
        given = env.step(action)
        given.is_last[:] = True
        given.observation["time"][:] = 7
        state = env.get_state()["timestep"]
    assert not state["is_last"].any()
    assert not (state["observation"]["time"] == 7).any()


def test_send_does_not_wait_for_the_workers():
    with make_vector_env("probe_constant", num_envs=1, seed=0, workers=1) as env:
        (process,) = processes(env)
        process.send_signal(signal.SIGSTOP)
        env.send(np.zeros((1, 1), np.float32))
        process.send_signal(signal.SIGCONT)
        assert env.recv().is_first.all()


def test_exception_in_a_worker_is_raised_by_recv():
    env = make_vector_env("cartpole_balance", num_envs=3, seed=0, workers=2, backend="dmc")
    action = np.zeros((3, 1), np.float32)
    env.step(action)
    workers = processes(env)
    action[2] = np.nan
    env.send(action)
    with pytest.raises(WorkerError) as info:
        env.recv()
    assert str(info.value) == (
        "Worker of environment 2 of cartpole_balance failed: ValueError: "
        "`action` must be finite, got [nan]. It is one failure more than the 0 that "
        "`--env.max_restarts` allows."
    )
    assert "in step" in info.value.__notes__[0]
    assert all(process.returncode == 0 for process in workers)
    with pytest.raises(RuntimeError, match="closed"):
        env.send(action)


def test_exception_without_workers_is_raised_as_it_is():
    with make_vector_env("cartpole_balance", num_envs=1, seed=0, backend="dmc") as env:
        env.step(np.zeros((1, 1), np.float32))
        with pytest.raises(ValueError, match="`action` must be finite"):
            env.step(np.full((1, 1), np.nan, np.float32))


@pytest.mark.parametrize("before_send", [True, False])
def test_death_of_a_worker_is_raised_by_recv(before_send):
    env = make_vector_env("probe_memory", num_envs=4, seed=0, workers=2)
    action = np.zeros((4, 1), np.float32)
    env.step(action)
    alive, victim = processes(env)
    if before_send:
        victim.kill()
        victim.wait()
        env.send(action)
    else:
        victim.send_signal(signal.SIGSTOP)
        env.send(action)
        victim.kill()
    message = "Worker of environments 2 to 3 of probe_memory died with exit code -9"
    with pytest.raises(WorkerError, match=message):
        env.recv()
    assert alive.returncode == 0


def test_failure_to_make_an_environment_closes_all_workers():
    good = Worker(functools.partial(DMControl, "pendulum_swingup"), [0], name="Good")
    bad = Worker(functools.partial(DMControl, "no_task"), [0], name="Bad")
    with pytest.raises(WorkerError, match="Bad failed: ValueError: `task` must be"):
        VectorEnv([good, bad])
    assert good._child._process.returncode == bad._child._process.returncode == 0


def report_modules(*, seed):
    DMControl("cartpole_balance", seed=seed)
    heavy = ("dm_control", "jax", "matplotlib")
    raise RuntimeError([name for name in heavy if name in sys.modules])


def test_workers_do_not_load_jax():
    with pytest.raises(WorkerError) as error:
        VectorEnv([Worker(report_modules, [0], name="It")])
    assert str(error.value).startswith("It failed: RuntimeError: ['dm_control'] (")


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_close_ends_the_workers_and_may_be_repeated(workers, pending):
    env = make_vector_env("probe_constant", num_envs=2, seed=0, workers=workers)
    started = processes(env) if workers else []
    action = np.zeros((2, 1), np.float32)
    env.step(action)
    if pending:
        env.send(action)
    env.close()
    env.close()
    assert len(started) == workers
    assert all(process.returncode == 0 for process in started)
    with pytest.raises(RuntimeError, match="closed"):
        env.send(action)
    with pytest.raises(RuntimeError, match="`send` must be called before `recv`"):
        env.recv()


def test_close_closes_every_group_also_after_one_that_fails():
    closed = []

    class Stubborn(EnvGroup):
        def close(self):
            closed.append(self)
            raise OSError("it does not close")

    groups = [Stubborn([make_env("probe_constant", seed=0)]) for _ in range(3)]
    with pytest.raises(OSError, match="it does not close"):
        VectorEnv(groups).close()
    assert set(closed) == set(groups)


def test_workers_ignore_sigint():
    with make_vector_env("probe_constant", num_envs=1, seed=0, workers=1) as env:
        (process,) = processes(env)
        # Ctrl-C in a terminal signals the process group of the parent, which the worker
        # is not in; other senders may signal every process.
        assert os.getpgid(process.pid) != os.getpgid(0)
        process.send_signal(signal.SIGINT)
        assert env.step(np.zeros((1, 1), np.float32)).is_first.all()
        assert process.poll() is None


PARENT = """
import signal
import numpy as np
from gpld.envs import make_vector_env
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells may have it ignored
with make_vector_env("probe_memory", num_envs=2, seed=0, workers=2) as env:
    action = np.zeros((2, 1), np.float32)
    env.step(action)
    print("ready", flush=True)
    while True:
        env.step(action)
"""


@pytest.mark.parametrize(("end", "tracebacks"), [(signal.SIGKILL, 0), (signal.SIGINT, 1)])
def test_no_worker_outlives_its_parent(end, tracebacks):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(end)
        # The workers inherit both streams, which end only when all processes have.
        _, errors = parent.communicate(timeout=60)
    finally:
        parent.kill()
    assert parent.returncode == -end
    assert errors.count(b"Traceback") == tracebacks


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (1, 1)])
def test_wrong_shape_of_the_action_is_named(shape):
    with (
        make_vector_env("probe_constant", num_envs=2, seed=0) as env,
        pytest.raises(ValueError, match=r"shape \(2, 1\), got \(\d, \d\)"),
    ):
        env.send(np.zeros(shape, np.float32))


def test_send_and_recv_alternate():
    with make_vector_env("probe_constant", num_envs=1, seed=0) as env:
        action = np.zeros((1, 1), np.float32)
        with pytest.raises(RuntimeError, match="`send` must be called before `recv`"):
            env.recv()
        env.send(action)
        with pytest.raises(RuntimeError, match="`recv` must be called before `send`"):
            env.send(action)
        assert env.recv().is_first.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "`num_envs` must be at least 1, got 0"),
        ({"workers": -1}, "`workers` must be at least 0, got -1"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"action_repeat": 0}, "`action_repeat` must be at least 1, got 0"),
        ({"task": "walker_fly", "workers": 1}, "did you mean walker_"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    defaults = {"task": "walker_walk", "num_envs": 1, "seed": 0}
    with pytest.raises(ValueError, match=message):
        make_vector_env(**(defaults | arguments))
