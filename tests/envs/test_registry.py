import pickle
import subprocess
import sys

import numpy as np
import pytest
from dm_control import suite

from gpld.cli import parse_config
from gpld.config import Config, from_dict, to_dict
from gpld.envs import Environment, canonical_name, make_env, task_names
from gpld.envs.registry import env_factory


def test_task_names_are_grouped_and_sorted():
    names = task_names()
    num_probes = 6
    assert len(names) == len(set(names)) == len(suite.ALL_TASKS) + num_probes
    assert list(names[:-num_probes]) == sorted(names[:-num_probes])
    assert names[-num_probes:] == (
        "probe_constant",
        "probe_delayed",
        "probe_discrete",
        "probe_memory",
        "probe_picture",
        "probe_termination",
    )
    assert {"walker_walk", "ball_in_cup_catch", "dog_run", "lqr_lqr_2_1"} < set(names)


@pytest.mark.parametrize("task", ["cartpole_balance", "probe_memory"])
def test_make_env_passes_the_seed_on(task):
    def first_observations(seed):
        env = make_env(task, seed=seed)
        assert isinstance(env, Environment)
        return [list(env.reset().observation.values()) for _ in range(32)]

    np.testing.assert_equal(first_observations(3), first_observations(3))
    with pytest.raises(AssertionError):
        np.testing.assert_equal(first_observations(3), first_observations(4))


def test_make_env_passes_the_action_repeat_on():
    assert make_env("pendulum_swingup", seed=0).spec.action_repeat == 1
    env = make_env("pendulum_swingup", seed=0, action_repeat=4)
    assert (env.spec.action_repeat, env.spec.episode_steps) == (4, 250)


def test_settings_have_the_one_name_of_a_task():
    assert Config(task="cup_catch") == Config(task="ball_in_cup_catch")
    stored = to_dict(Config(task="ball_in_cup_catch")) | {"task": "cup_catch"}  # of older versions
    assert from_dict(stored).task == "ball_in_cup_catch"
    assert parse_config(["--task", "cup_catch"]).task == "ball_in_cup_catch"
    for name in task_names():
        assert canonical_name(name) == name


def test_cup_catch_is_short_for_ball_in_cup_catch():
    short, full = (make_env(name, seed=5).reset() for name in ("cup_catch", "ball_in_cup_catch"))
    np.testing.assert_equal(short.observation, full.observation)


def test_unknown_task_is_answered_with_close_ones():
    with pytest.raises(ValueError, match="`task`") as info:
        make_env("dmc_walker_walk", seed=0)
    assert str(info.value) == (
        "`task` must be a known task, got 'dmc_walker_walk'; did you mean walker_walk? "
        "`--task list` shows all but those that `gpld.register` names in another process."
    )
    with pytest.raises(ValueError, match="`task`") as info:
        make_env("zzz", seed=0)
    assert str(info.value) == (
        "`task` must be a known task, got 'zzz'; `--task list` shows all but those that "
        "`gpld.register` names in another process."
    )


@pytest.mark.parametrize("task", ["walker_walk", "probe_delayed"])
def test_action_repeat_must_be_positive(task):
    with pytest.raises(ValueError, match="`action_repeat` must be at least 1, got 0"):
        make_env(task, seed=0, action_repeat=0)


def test_probes_do_not_repeat_actions():
    with pytest.raises(ValueError, match="`action_repeat` must be 1 for probe_delayed"):
        make_env("probe_delayed", seed=0, action_repeat=2)


@pytest.mark.parametrize("task", ["cartpole_balance", "probe_memory"])
def test_factories_survive_pickling(task):
    factory = env_factory(task)
    copy = pickle.loads(pickle.dumps(factory))
    np.testing.assert_equal(copy(seed=1).reset(), factory(seed=1).reset())


def test_a_probe_imports_neither_dm_control_nor_jax():
    script = (
        "import sys, gpld.envs\n"
        "gpld.envs.make_env('probe_memory', seed=0)\n"
        "print([m for m in ('dm_control', 'mujoco', 'jax') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"
