"""The command `check-env`: lines, exit codes, options."""

import sys

import pytest

from gpld.commands import check_env
from gpld.envs import own
from gpld.envs.check import check, trials

FILE = """
import gymnasium


def make(gravity=9.8, broken=False):
    env = gymnasium.make("CartPole-v1")
    env.unwrapped.gravity = gravity
    return gymnasium.wrappers.TransformReward(env, lambda r: None if broken else r)
"""


@pytest.fixture
def file(monkeypatch, tmp_path):
    monkeypatch.setattr(own, "_allowed", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(check, "_NUM_STEPS", 100)
    monkeypatch.delitem(trials.TRIALS, "workers")
    (tmp_path / "checked.py").write_text(FILE)
    yield f"{tmp_path / 'checked.py'}:make"
    sys.modules.pop("gpld_own_checked", None)


def test_a_line_for_each_rule(file, capsys):
    check_env.main([file, "--env.kwargs", '{"gravity": 5}', "--env.action_repeat", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok      making        it can be made"
    assert [line.split()[1] for line in lines[1:]] == [
        *("steps", "observations", "dtypes", "range", "finite", "rewards", "order", "buffers"),
        *("length", "determinism", "seed", "state"),
    ]
    assert {line.split()[0] for line in lines[:-1]} == {"ok"}
    assert lines[-1].startswith("hint    state         it has none")  # its wrapper is not known
    assert "from 0 to 2" in lines[6]  # two steps of one reward each


def test_a_broken_rule_is_exit_code_1(file, capsys):
    with pytest.raises(SystemExit) as end:
        check_env.main([file, "--env.kwargs", '{"broken": true}'])
    output = capsys.readouterr()
    assert end.value.code == 1
    assert "broken  rewards       the reward is None, at step 1; return one number" in output.out
    assert output.err == f"error: {file} breaks the contract: rewards.\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("gymnasium:CartPol-v1",), "did you mean gymnasium:CartPole-v1"),
        (("gymnasium:CartPole-v1", "--env.kwarg", "{}"), "did you mean --env.kwargs"),
        (("gymnasium:CartPole-v1", "--env.image_size", "0"), "`env.image_size` must be at least 1"),
        ((), "task"),
    ],
)
def test_a_wrong_command_is_exit_code_2(args, message, capsys):
    with pytest.raises(SystemExit) as end:
        check_env.main(args)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert error.count("\n") == 1
