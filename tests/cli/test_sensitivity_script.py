"""`scripts/sensitivity.py`, as a user runs it."""

import json
import re
import shutil

import pytest
from run_script import run

from gpld.commands.sensitivity import main as sensitivity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with two checkpoints."""
    path = tmp_path_factory.mktemp("runs") / "cartpole"
    args = ("--preset", "debug", "--task", "cartpole_balance", "--checkpoint.every", "100")
    result = run("train.py", *args, "--run", path)
    assert result.returncode == 0, result.stderr
    return path


def test_measures_every_checkpoint(finished):
    result = run("sensitivity.py", finished, "--states", "50")
    assert (result.returncode, result.stderr) == (0, "")
    *lines, end = result.stdout.splitlines()
    assert [re.match(r"env step +(\d+) \| posterior .* \| prior ", line)[1] for line in lines] == [
        "100",
        "200",
    ]
    assert end == f"wrote sensitivity.json and sensitivity.png in {finished}"

    record = json.loads((finished / "sensitivity.json").read_text())
    assert record["num_states"] == 50
    assert [c["env_step"] for c in record["checkpoints"]] == [100, 200]
    assert record["checkpoints"][1]["update"] == 43
    numbers = [c[name]["mean"] for c in record["checkpoints"] for name in ("posterior", "prior")]
    assert all(number > 0 for number in numbers)
    assert len(set(numbers)) == 4
    assert (finished / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "PATH Folder of the run. (required)\n"),
        (["nowhere"], "nowhere is not a run folder: it has no config.json"),
        (["nowhere", "--states", "0"], "`states` must be at least 1, got 0"),
        (["nowhere", "--num_envs", "0"], "`num_envs` must be at least 1, got 0"),
        (["nowhere", "--seed", "-1"], "`seed` must be at least 0, got -1"),
        (["nowhere", "--state", "5"], "Unknown flag --state; did you mean --states"),
        (["nowhere", "--states", "x"], "error: --states: invalid literal for int()"),
    ],
)
def test_bad_usage_is_one_line(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = _error(args, capsys, code=2)
    assert error.startswith("error: ")
    assert message in error


def test_run_without_checkpoint_is_one_line(finished, capsys, tmp_path):
    for name in ("config.json", "run.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    assert "holds no checkpoint" in _error([str(tmp_path)], capsys, code=1)
    assert not (tmp_path / "sensitivity.json").exists()


def test_a_file_that_cannot_be_written_is_found_before_the_measurements(finished, capsys, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    (path / "sensitivity.json").unlink(missing_ok=True)
    (path / "sensitivity.json").mkdir()
    error = _error([str(path)], capsys, code=2)
    assert "sensitivity.json cannot be written: it is no regular file." in error


def _error(args, capsys, *, code):
    """The one line on stderr that the command ends with."""
    with pytest.raises(SystemExit) as exit:
        sensitivity(args)
    output = capsys.readouterr()
    assert exit.value.code == code
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err
