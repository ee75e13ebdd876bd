"""Lowest and best returns of tasks."""

import subprocess
import sys

import pytest

from gpld.envs import probe
from gpld.envs.score_range import ScoreRange, score_range
from gpld.suite import TASKS


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("walker_run", (0, 1000)),
        ("cup_catch", (0, 1000)),
        ("probe_constant", (0, 16)),
        ("probe_delayed", (-1, 1)),
        ("gymnasium:CartPole-v1", (0, 500)),
    ],
)
def test_known_ranges(task, expected):
    assert score_range(task) == ScoreRange(*expected)


@pytest.mark.parametrize(
    "task",
    ["lqr_lqr_2_1", "gymnasium:Pendulum-v1", "my_package.envs:make", "./my_env.py:make", "walker"],
)
def test_other_ranges_are_not_known(task):
    assert score_range(task) is None


def test_all_tasks_have_a_range_but_those_whose_rewards_are_not_bounded():
    tasks = [*TASKS, *probe.TASKS]
    unknown = [task for task in tasks if score_range(task) is None]
    assert unknown == ["lqr_lqr_2_1", "lqr_lqr_6_2"]
    assert all(own.lowest < own.best for task in tasks if (own := score_range(task)))


def test_no_simulator_is_imported():
    code = (
        "import sys, gpld.envs.score_range as s; s.score_range('gymnasium:CartPole-v1');"
        "assert not {'dm_control', 'mujoco', 'gymnasium', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
