"""The package as others install it: types, versions, and what is said of them."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gpld

ROOT = Path(__file__).parents[1]

USERS_FILE = """
import gpld

agent = gpld.load("runs/first")
env = gpld.make_env(agent.config.task, seed=0, action_repeat=agent.config.action_repeat)
step, state = env.reset(), agent.initial_state()
action, state = agent.act(step, state)
reveal_type(agent)
reveal_type(agent.config.gpld.lambda0)
reveal_type(env)
reveal_type(step)
reveal_type(action)
reveal_type(state)
reveal_type(gpld.PRESETS["small"])
reveal_type(gpld.task_names())
reveal_type(gpld.register)
reveal_type(gpld.train)
reveal_type(gpld.Config(seed=3).env_steps)
"""

# In the order of the file; None is any type that is known.
TYPES = [
    "TrainedAgent",
    "float",
    "Environment",
    "TimeStep",
    None,
    "ActingState",
    "Config",
    "tuple[str, ...]",
    None,
    None,
    "int",
]


@pytest.mark.slow
def test_type_checkers_see_types(tmp_path):
    # But for the arrays of a time step, which may be NumPy's or JAX's.
    file = tmp_path / "user.py"
    file.write_text(USERS_FILE)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(file)]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = re.findall(r'Type of "([^\n]+)" is "([^\n]*)"$', shown.stdout, re.MULTILINE)
    assert shown.returncode == 0, shown.stdout
    assert len(found) == len(TYPES), shown.stdout
    for (name, kind), expected in zip(found, TYPES, strict=True):
        assert kind not in ("Any", "Unknown"), name
        assert expected is None or kind == expected, name


def test_types_are_promised_to_type_checkers():
    assert (Path(gpld.__file__).parent / "py.typed").is_file()


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert importlib.metadata.version("gpld") == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    titles = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    numbers = [tuple(map(int, title.rstrip(",").split("."))) for title in titles]
    assert numbers == sorted(numbers, reverse=True)
    assert version in (title.rstrip(",") for title in titles[:2])  # the next one is not released
