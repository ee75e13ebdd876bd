"""Run folders whose files are not as a run left them: one line, which names the file."""

import json
import os

import numpy as np
import pytest
from run_folders import configured, write_run

from gpld.config import to_dict
from gpld.envs import ArraySpec, EnvSpec
from gpld.errors import LeftOut, UsageError
from gpld.runs.folder import RunFolder

ENV = {
    "observation": [["position", [[3], "float32"]]],
    "action_size": 1,
    "action_repeat": 2,
    "episode_steps": 500,
}


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "run", configured("walker_walk", 0), [(100, [5.0])])
    record = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(record | {"env": ENV}))
    return folder


@pytest.mark.parametrize("name", ["config.json", "run.json"])
@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"[1, 2]", "must hold a JSON object, but it holds a list"),
        (b"null", "must hold a JSON object, but it holds a null"),
        (b'{"task": "walker', "is damaged: it is not JSON"),
        (b"", "is damaged: it is not JSON"),
        (bytes(50), "is damaged: it is not JSON"),
        (b"\xff\xfe{", "is damaged: it is not JSON"),
        (b"[" * 100_000, "is damaged: its JSON is nested too deeply"),
    ],
    ids=["list", "null", "truncated", "empty", "NUL", "bytes", "deep"],
)
def test_settings_and_record_that_are_none(run, name, contents, message):
    (run.path / name).write_bytes(contents)
    with pytest.raises(UsageError, match=f"{name} {message}"):
        run.config() if name == "config.json" else run.record()


def test_what_is_in_their_place_is_named(run):
    config = run.path / "config.json"
    config.unlink()
    with pytest.raises(UsageError, match=r"run is not a run folder: it has no config\.json"):
        run.config()
    config.symlink_to("config.json")
    with pytest.raises(UsageError, match=r"config\.json cannot be read: Too many levels of symb"):
        run.config()
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(UsageError, match=r"config\.json cannot be read: it is no regular file"):
        run.config()
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        RunFolder(run.path / ("x" * 300)).config()
    with pytest.raises(UsageError, match="is no path: embedded null byte"):
        RunFolder(run.path / "a\0b").config()


def test_settings_of_other_types_are_named(run):
    values = to_dict(configured("walker_walk", 0))
    (run.path / "config.json").write_text(json.dumps(values | {"env": [1]}))
    with pytest.raises(UsageError, match=r"run are not .*: `env` must be an object with settings"):
        run.config()


def test_record_of_integers_says_how_many_there_are(run):
    record = json.loads((run.path / "run.json").read_text())
    env = ENV | {"discrete": True, "observation": [["room", [[], "int32", 4]]]}
    (run.path / "run.json").write_text(json.dumps(record | {"env": env}))
    spec = run.env_spec()
    assert spec.observation == {"room": ArraySpec((), np.dtype("int32"), 4)}
    assert spec.action == ArraySpec((), np.dtype("int32"), ENV["action_size"])


def test_record_says_what_is_read_of_it(run):
    record = json.loads((run.path / "run.json").read_text())
    expected = {"position": ArraySpec((3,), np.dtype("float32"))}
    assert run.env_spec() == EnvSpec(expected, action_size=1, action_repeat=2, episode_steps=500)
    for changes, message in (
        ({"precision": None}, "its `precision` is None"),
        ({"machine": []}, r"its `machine` is \[\]"),
        ({"machine": {"cores": "2"}}, "its `machine` is {'cores': '2'}"),
        ({"versions": 5}, "its `versions` is 5"),
        ({"resumed": 5}, "its `resumed` is 5"),
        ({"commit": 5}, "its `commit` is 5"),
    ):
        (run.path / "run.json").write_text(json.dumps(record | changes))
        with pytest.raises(UsageError, match=rf"run.json is damaged: {message}\.$"):
            run.record()
    for name in ("precision", "machine", "versions", "commit"):
        left = {key: value for key, value in record.items() if key != name}
        (run.path / "run.json").write_text(json.dumps(left))
        with pytest.raises(UsageError, match=f"run.json is damaged: (its|it has no) `{name}`"):
            run.record()
    (run.path / "run.json").write_text(json.dumps(left | {"commit": None, "dtype": "float32"}))


@pytest.mark.parametrize(
    "env",
    [
        None,
        [1],
        {},
        ENV | {"observation": 5},
        ENV | {"observation": [["position", [[3], "nonsense"]]]},
        ENV | {"observation": [["position", [[3.5], "float32"]]]},
        ENV | {"observation": [["position", [[10**12], "float32"]]]},
        ENV | {"action_size": -1},
        ENV | {"action_size": "1"},
        ENV | {"action_repeat": True},
        ENV | {"discrete": 1},
        ENV | {"observation": [["position", [[3], "int32", -1]]]},
    ],
)
def test_sizes_of_no_task_are_refused(run, env):
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(record | {"env": env}))
    with pytest.raises(UsageError, match=r"run.json is damaged: its `env` says no task's sizes"):
        run.env_spec()


GOOD = {
    "scores": {"env_step": 200, "mean": 1.5, "scores": [1.0, 2.0]},
    "episodes": {"env_step": 200, "score": 1.0},
    "metrics": {"env_step": 200, "time/seconds": None},
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"garbage", "it is not JSON"),
        (b"null", "but it holds a null"),
        (bytes(40), "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "but it holds a list"),
        (b"5", "but it holds a number"),
        (b"", "it is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "it has no `env_step`"),
        (b'{"env_step": "x"}', "its `env_step` is 'x'"),
        (b'{"env_step": -1}', "its `env_step` is -1"),
        (b'{"env_step": true}', "its `env_step` is True"),
        (b'{"env_step": 1e400}', "its `env_step` is inf"),
        (b'{"env_step": 99999999999999999999}', "its `env_step` is 9999"),
    ],
)
def test_a_bad_line_is_named_and_left_out(run, name, line, problem):
    path, good = run.path / f"{name}.jsonl", json.dumps(GOOD[name]).encode()
    path.write_bytes(b"\n".join([good, line, good, b""]))
    with pytest.warns(LeftOut) as found:
        assert run.read(name) == 2 * [GOOD[name]]
    [warning] = [str(warning.message) for warning in found]
    assert warning.startswith(f"{path}, line 2 ")
    assert problem in warning
    assert warning.endswith(". It is left out.")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("scores", {"scores": "y"}),
        ("scores", {"scores": []}),
        ("scores", {"scores": [None]}),
        ("scores", {"scores": [1.0, float("nan")]}),
        ("scores", {"mean": None}),
        ("scores", {"mean": "5"}),
        ("episodes", {"score": "q"}),
        ("episodes", {"score": float("inf")}),
        ("metrics", {"time/seconds": "s"}),
        ("metrics", {"time/seconds": 10**400}),
    ],
)
def test_lines_with_other_values_are_left_out(run, name, changes):
    lines = [GOOD[name] | changes, GOOD[name]]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.path / f"{name}.jsonl").write_text(text)
    with pytest.warns(
        LeftOut, match=f"{name}.jsonl, line 1 is damaged: its `{next(iter(changes))}`"
    ):
        assert run.read(name) == [GOOD[name]]


def test_a_line_that_was_cut_off_is_left_out(run):
    with (run.path / "scores.jsonl").open("a") as file:
        file.write('{"env_step": 7')
    with pytest.warns(LeftOut, match="scores.jsonl, line 2 is incomplete. It is left out."):
        assert [line["env_step"] for line in run.read("scores")] == [100]


@pytest.mark.parametrize(
    "name", ["000000260.bak", "000000200 (copy)", "1notes", "notes", "damaged-000000100", ".a.tmp",
             "000000300.0", "000000300.01", "0000000300", "300", "\u0663" * 9]
)  # fmt: skip
def test_other_names_are_no_checkpoints(run, name):
    checkpoints = run.path / "checkpoints"
    for own in ("000000100", "000000200.1", "000000200", "1234567890", name):
        (checkpoints / own).mkdir(parents=True)
    (checkpoints / "000000400").touch()  # no folder
    names = [path.name for path in run.checkpoint_paths()]
    assert names == ["000000100", "000000200", "000000200.1", "1234567890"]
    assert run.latest_checkpoint().name == "1234567890"
    assert run.new_checkpoint_path(200).name == "000000200.2"
    assert run.new_checkpoint_path(400).name == "000000400.1"


def test_numbers_that_are_not_finite_become_null(run):
    run.append("scores", [{"env_step": 200, "mean": float("nan"), "scores": [1.0, float("inf")]}])
    last = (run.path / "scores.jsonl").read_text().splitlines()[-1]
    assert json.loads(last) == {"env_step": 200, "mean": None, "scores": [1.0, None]}
