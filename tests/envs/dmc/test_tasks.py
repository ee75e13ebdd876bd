"""Names of the suite's tasks, which are known without dm_control."""

import subprocess
import sys

from dm_control import suite

from gpld.suite import TASKS


def test_they_are_those_of_the_suite():
    assert sorted(TASKS.values()) == sorted(suite.ALL_TASKS)
    assert all(name == f"{domain}_{task}" for name, (domain, task) in TASKS.items())


def test_names_and_a_wrong_one_do_not_import_the_suite():
    code = """
import contextlib, sys
from gpld.envs import env_factory, task_names
assert "walker_walk" in task_names()
with contextlib.suppress(ValueError):
    env_factory("walker_wolk")
print(*(name for name in ("dm_control", "mujoco") if name in sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"
