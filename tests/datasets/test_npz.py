"""Import of `.npz` files: every step is what was given, and whatever is wrong is one line."""

import json

import numpy as np
import pytest
from imported_data import failure, imported, steps_of

from gpld.datasets import DataFolder
from gpld.envs import ArraySpec
from gpld.envs.adapters.arrays import Place, announce
from gpld.errors import Damaged, Unsuitable

LOW, HIGH = np.array([-2.0, 0.0]), np.array([2.0, 1.0])


def arrays(num=4, *, seed=0, **changes):
    """A file of the layout; arrays that are None are left out."""
    rng = np.random.default_rng(seed)
    steps = num + 1
    given = {
        "observation/arm": rng.normal(size=(steps, 3)),
        "observation/reward": rng.integers(-5, 5, steps),
        "observation/kind": rng.integers(0, 3, (steps, 2)),
        "num_classes/kind": 3,
        "observation/eye": rng.integers(0, 256, (steps, 3, 8, 8), np.uint8),
        "action": rng.uniform(LOW, HIGH, (num, 2)),
        "action_low": LOW,
        "action_high": HIGH,
        "reward": rng.normal(size=num),
        "terminated": np.arange(num) == num - 1,
        "truncated": np.zeros(num, bool),
    } | {name.replace("__", "/"): value for name, value in changes.items()}
    return {name: value for name, value in given.items() if value is not None}


def write(folder, *episodes):
    folder.mkdir(exist_ok=True)
    for number, episode in enumerate(episodes):
        np.savez(folder / f"{number}.npz", **episode)
    return folder


def test_every_step_is_what_was_given(tmp_path):
    ended, cut = arrays(4), arrays(2, seed=1, terminated=np.zeros(2), truncated=[0, 1])
    neither = arrays(1, seed=2, terminated=[False], truncated=None)
    source = write(tmp_path / "arms", ended, cut, neither)
    data = imported(source, tmp_path / "out", "--action_repeat", "3")
    float32, int32, uint8 = map(np.dtype, ("float32", "int32", "uint8"))
    assert data.task == "arms"
    assert data.spec.observation == {
        "arm": ArraySpec((3,), float32),
        "eye": ArraySpec((8, 8, 3), uint8),  # channels last
        "kind": ArraySpec((2,), int32, 3),
        "obs/reward": ArraySpec((), float32),  # the name of the reward is taken
    }
    assert data.spec[1:5] == (2, 3, 4, False)

    steps, first = steps_of(data), 0
    for episode, terminal in ((ended, True), (cut, False), (neither, False)):
        num = len(episode["reward"])
        own = {name: array[first : first + num + 1] for name, array in steps.items()}
        first += num + 1
        np.testing.assert_array_equal(own["arm"], episode["observation/arm"].astype(np.float32))
        np.testing.assert_array_equal(own["obs/reward"], episode["observation/reward"])
        np.testing.assert_array_equal(own["kind"], episode["observation/kind"])
        for i in range(3):
            np.testing.assert_array_equal(own["eye"][..., i], episode["observation/eye"][:, i])
        # An action stands with the observation before it, a reward with the one after.
        scaled = 2 * (episode["action"] - LOW) / (HIGH - LOW) - 1
        np.testing.assert_allclose(own["action"][:-1], scaled, atol=1e-6)
        assert not own["action"][-1].any()
        np.testing.assert_array_equal(own["reward"][1:], episode["reward"].astype(np.float32))
        assert own["reward"][0] == 0
        assert own["is_first"].tolist() == [True] + [False] * num
        assert own["is_last"].tolist() == [False] * num + [True]
        assert own["is_terminal"].tolist() == [False] * num + [terminal]
    assert first == len(steps["reward"])


def test_discrete_actions_and_a_single_observation(tmp_path):
    changes = dict.fromkeys([name for name in arrays() if name.startswith(("obs", "num", "act"))])
    episode = arrays(3, **changes, observation=np.ones((4, 2)))
    episode["action"] = np.array([2, 0, 1], np.uint8)
    file = write(tmp_path / "eps", episode) / "0.npz"
    data = imported(file, tmp_path / "a", "--num_actions", "3", "--task", "mine")
    assert (data.task, data.spec.discrete, data.spec.action_size) == ("mine", True, 3)
    assert list(data.spec.observation) == ["observation"]
    assert steps_of(data)["action"].tolist() == [2, 0, 1, 0]

    np.savez(file, **episode, num_actions=3)
    assert imported(file, tmp_path / "b").spec == data.spec
    np.savez(file, **{**episode, "observation": np.zeros((4, 8, 8, 1), np.uint8)}, num_actions=3)
    assert list(imported(file, tmp_path / "c").spec.observation) == ["image"]


def test_images_are_resized_as_those_of_environments(tmp_path, capsys):
    episode = arrays(
        2, observation__eye=np.random.default_rng(0).integers(0, 256, (3, 1, 84, 80), np.uint8)
    )
    source = write(tmp_path / "eps", episode)
    data = imported(source, tmp_path / "out", "--image_size", "64")
    assert data.spec.observation["eye"] == ArraySpec((64, 64, 1), np.dtype(np.uint8))
    assert "--env.image_size 64 --offline" in capsys.readouterr().out
    eye = episode["observation/eye"]
    place = Place(("eye",), eye.shape[1:], eye.dtype)
    converted = announce([place], 64)["eye"].convert
    np.testing.assert_array_equal(steps_of(data)["eye"], [converted(image) for image in eye])


def test_the_last_line_is_the_command_that_trains(tmp_path, monkeypatch, capsys):
    source = write(tmp_path / "my episodes", arrays())
    for name, command in (
        ("scripts/import_data.py", "python scripts/train.py"),
        ("gpld x", "gpld train"),
    ):
        monkeypatch.setattr("sys.argv", [name])
        imported(source, out := tmp_path / f"out of {name[:4]}")
        assert capsys.readouterr().out.splitlines()[-1] == (
            f"train on it with `{command} --task 'my episodes' --env.action_repeat 1 "
            f"--offline '{out}' --learn world_model`"
        )


def test_bounds_of_the_command_take_the_place_of_those_in_the_files(tmp_path):
    source = write(tmp_path / "eps", arrays(), arrays(action_low=None, action_high=[np.inf]))
    data = imported(source, tmp_path / "out", "--low", "-4", "0", "--high", "4")
    assert data.manifest["state"]["num_added"] == 10
    actions = np.stack([arrays()["action"][0] / 4, arrays()["action"][0] / 2 - 1], 1)
    scaled = steps_of(data)["action"][0]
    np.testing.assert_allclose(scaled, [actions[0, 0], actions[1, 1]], atol=1e-6)


nan = np.full((4, 2), np.nan)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"observation__arm": np.ones((4, 3))}, "`arm` must have 5 entries for 4 rewards, got the"),
        ({"observation__arm": np.ones((5, 2))}, "`arm` must be float32 of shape (3,), as in the"),
        ({"observation__arm": np.full((5, 3), "a")}, "observation `arm` must be numbers, got <U1"),
        ({"observation__arm": np.full((5, 3), 1e300)}, "`arm` is not finite in float32 at entry 0"),
        ({"observation__eye": np.ones((5, 8, 8, 3))}, "`eye` must be uint8 of shape (8, 8, 3), as"),
        ({"observation__kind": np.full((5, 2), 3)}, "`kind` must lie in [0, 3), got [3 3] at ent"),
        ({"observation__kind": np.ones((5, 2))}, "observation `kind` must be integers, got float"),
        ({"observation__new": np.ones(5)}, "`new` must be absent, as in the first episode, got f"),
        ({"observation__arm": None}, "`arm` must be float32 of shape (3,), as in the first episo"),
        ({"num_classes__other": 3}, "it has no observation for `num_classes/other`"),
        ({"num_classes__kind": 3.0}, "`num_classes/kind` must be an integer, got float64"),
        ({"action": np.zeros((3, 2))}, "`action` must have 4 entries for 4 rewards, got the shape"),
        ({"action": nan}, "`action` is not finite in float32 at entry 0"),
        ({"action": np.full((4, 2), 1.01)}, "`action` must lie in [0, 1] at entry 1, got 1.01 in"),
        (
            {"action": np.zeros((4, 3))},
            "`action_low` must be a number, or one for each entry of an",
        ),
        ({"action": np.zeros(4, int)}, "it does not say how many actions there are: add `num_acti"),
        ({"action": np.zeros(4, int), "num_actions": 2}, "`discrete` of its actions must be False"),
        ({"action": np.zeros((4, 2), complex)}, "`action` must be numbers, got complex128"),
        ({"action_low": None}, "it does not say the bounds of actions: add `action_low` and"),
        ({"action_high": np.inf}, "bounds of actions must be finite, the lower ones first, got"),
        ({"action_low": 3.0}, "bounds of actions must be finite, the lower ones first, got"),
        ({"action_high": 2.0}, "`high` of its actions must be (2.0, 1.0), as in the first episode"),
        (
            {"action_low": "low"},
            "`action_low` must be a number, or one for each entry of an action",
        ),
        ({"reward": np.full(4, -np.inf)}, "`reward` is not finite in float32 at entry 0"),
        ({"reward": np.ones((4, 1))}, "`reward` must be one number for each action, in one axis"),
        ({"reward": None}, "it has no `reward`"),
        ({"terminated": np.ones(4)}, "must be false before the last action, but action 0 of 4 has"),
        ({"truncated": [0, 1, 0, 0]}, "before the last action, but action 1 of 4 has one of them"),
        ({"terminated": np.full(4, 2)}, "`terminated` must be true or false for each action, got"),
        ({"terminated": np.zeros(5)}, "`terminated` must be one number for each action, in one"),
        ({"info": np.zeros(4)}, "it has an array `info`, which is none of the layout"),
        (
            {"action": np.array([None] * 4)},
            "it cannot be read as a .npz file: Object arrays cannot",
        ),
    ],
)
def test_an_episode_that_is_wrong_is_refused_in_a_line(tmp_path, capsys, changes, reason):
    source = write(tmp_path / "eps", arrays(), arrays(**changes), arrays(seed=1))
    data = imported(source, tmp_path / "out")
    refused, *rest = capsys.readouterr().out.splitlines()
    assert refused.startswith("refused 1.npz: ")
    assert reason in refused
    assert "episodes    2; 1 refused" in rest
    assert data.manifest["state"]["num_added"] == 10


def test_files_that_are_none_are_refused(tmp_path, capsys):
    source = write(tmp_path / "eps", arrays(), arrays(), arrays())
    (source / "1.npz").write_bytes((source / "1.npz").read_bytes()[:-300])
    (source / "2.npz").write_bytes(b"")
    with (source / "3.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    (source / "4.npz").mkdir()
    imported(source, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    for number in range(1, 5):
        assert lines[number - 1].startswith(f"refused {number}.npz: it cannot be read as a .npz")
    assert not lines[4].startswith("refused")


def test_names_cannot_command_a_terminal(tmp_path, capsys):
    source = write(tmp_path / "eps", arrays())
    (source / "0.npz").rename(source / "a\x1b[2J\nb.npz")
    np.savez(source / "c.npz", **arrays(), **{"\x1b[2J": 1})
    imported(source, tmp_path / "out")
    refused, *_ = capsys.readouterr().out.splitlines()
    assert refused == r"refused c.npz: it has an array `\x1b[2J`, which is none of the layout"
    np.savez(source / "a\x1b[2J\nb.npz", **arrays(), **{"\x1b[2J": 1})
    _, _, out = failure(capsys, source, tmp_path / "other")
    assert out.startswith(r"refused a\x1b[2J\nb.npz: it has an array")
    assert "\x1b" not in out


def test_what_is_printed(tmp_path, capsys):
    reward = np.array([1.0, 2.0])
    source = write(tmp_path / "eps", arrays(2, reward=reward), arrays(4, reward=[0, 0, 0, -1]))
    imported(source, tmp_path / "out")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    said = dict(lines)
    assert said["steps"].startswith("8: 6 actions")
    assert said["lengths"] == "least 2, mean 3, most 4"
    assert said["returns"] == "least -1, mean 1, most 3"
    assert said["reward"] == "1 float32, from -1 to 2"
    actions = np.concatenate([arrays(n)["action"] for n in (2, 4)])
    assert said["action"] == (
        f"2 float32, from {actions.min():g} to {actions.max():g}, scaled to [-1, 1]"
    )
    assert said.keys() > {"arm", "eye", "kind", "obs/reward"}
    assert said["train"].endswith(
        f"--task eps --env.action_repeat 1 --offline {tmp_path / 'out'} --learn world_model`"
    )


def test_nothing_is_written_where_nothing_can_be_imported(tmp_path, capsys):
    source = write(tmp_path / "eps", arrays(action=nan))
    error, code, out = failure(capsys, source, tmp_path / "out")
    assert error == "error: No episode can be imported: 1 were refused; nothing was written.\n"
    assert (code, out.count("refused 0.npz")) == (2, 1)
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    failure(capsys, source, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_wrong_commands_are_one_line(tmp_path, capsys):
    source = write(tmp_path / "eps", arrays())
    for args, message in (
        ((tmp_path / "none", tmp_path / "out"), "There is no "),
        ((tmp_path, tmp_path / "out"), "is no .npz file and holds none, nor is it the folder of a"),
        ((source, source), "must be new or empty, but "),
        ((source, tmp_path / "out", "--low", "-1"), "`low` must be given together with `high`"),
        ((source, tmp_path / "out", "--low", "-1", "--high", "inf"), "`high` must be finite num"),
        ((source, tmp_path / "out", "--action_repeat", "0"), "`action_repeat` must be at least 1"),
        ((source, tmp_path / "out", "--num_actions", "0"), "num_actions` must be at least 1"),
    ):
        error, code, _ = failure(capsys, *args)
        assert message in error, error
        assert code == 2
    assert not (tmp_path / "out").exists()


def test_damage_is_noticed(tmp_path):
    data = imported(write(tmp_path / "eps", arrays()), tmp_path / "out")
    file = data.path / "data.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values, separators=(",", ":")))  # the layout does not matter
    assert DataFolder.read(data.path) == data
    file.write_text(json.dumps(values | {"task": "another"}))
    with pytest.raises(Damaged, match=r"data\.json does not match its checksum"):
        DataFolder.read(data.path)
    file.write_text(json.dumps(values | {"format": 3}))
    with pytest.raises(Damaged):
        DataFolder.read(data.path)
    file.write_text(json.dumps(values | {"format": 6}))
    with pytest.raises(Unsuitable, match="has format 6 and this version of gpld reads 1"):
        DataFolder.read(data.path)
    [chunk] = data.files.iterdir()
    contents = bytearray(chunk.read_bytes())
    contents[-1] ^= 1
    chunk.write_bytes(contents)
    with pytest.raises(Damaged, match="does not match its checksum"):
        steps_of(data)
