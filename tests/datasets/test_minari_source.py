"""Import of datasets that Minari's own writer has made."""

import warnings

import numpy as np
import pytest
from imported_data import failure, imported, steps_of

from gpld.datasets.episode import Refused
from gpld.datasets.minari_source import MinariSource
from gpld.envs import ArraySpec
from gpld.errors import UsageError


def test_minari_that_is_missing_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metadata.json").write_text("{}")
    monkeypatch.setattr("gpld.datasets.minari_source.importlib.util.find_spec", lambda name: None)
    error, code, _ = failure(capsys, tmp_path, tmp_path / "out")
    assert error == f"error: {tmp_path} needs Minari to be read: `pip install 'gpld[minari]'`.\n"
    assert code == 2
    assert not (tmp_path / "out").exists()


@pytest.fixture
def create(tmp_path, monkeypatch):
    """`create(observation space, action space, episodes)` writes a dataset, and returns its folder.

    An episode is its observations, actions, and whether it was terminated; rewards count up.
    """
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def create(observation_space, action_space, episodes, **settings):
        buffers = [
            minari.data_collector.EpisodeBuffer(
                observations=observations,
                actions=actions,
                rewards=list(np.arange(1.0, num + 1)),
                terminations=[False] * (num - 1) + [terminated],
                truncations=[False] * (num - 1) + [not terminated],
            )
            for observations, actions, num, terminated in episodes
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that nobody is named as the author
            minari.create_dataset_from_buffers(
                "tests/mine-v0",
                buffers,
                observation_space=observation_space,
                action_space=action_space,
                jpeg_encoding=False,
                **settings,
            )
        return tmp_path / "minari" / "tests" / "mine-v0"

    return create


@pytest.mark.exhaustive
@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_every_step_is_what_was_given(create, tmp_path, data_format, capsys):
    from gymnasium import spaces

    space = spaces.Dict(
        {
            "arm": spaces.Dict({"angle": spaces.Box(-1, 1, (2,), np.float64)}),
            "kind": spaces.Discrete(3, start=5),
            "image": spaces.Box(0, 255, (3, 8, 8), np.uint8),
        }
    )
    action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 1.0]), dtype=np.float64)
    rng, episodes = np.random.default_rng(0), []
    for num, terminated in ((4, True), (2, False), (3, False)):
        observations = {
            "arm": {"angle": rng.uniform(-1, 1, (num + 1, 2))},
            "kind": rng.integers(5, 8, num + 1),
            "image": rng.integers(0, 256, (num + 1, 3, 8, 8), np.uint8),
        }
        actions = rng.uniform([-2, 0], [2, 1], (num, 2))
        episodes.append((observations, actions, num, terminated))
    episodes[2][0]["arm"]["angle"][1] = np.nan
    source = create(space, action_space, episodes, data_format=data_format)

    data = imported(source, tmp_path / "out")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "refused episode 2: observation `arm/angle` is not finite in float32 at entry 1"
    )
    float32, int32, uint8 = map(np.dtype, ("float32", "int32", "uint8"))
    assert data.task == "tests/mine-v0"
    assert data.spec.observation == {
        "arm/angle": ArraySpec((2,), float32),
        "image": ArraySpec((8, 8, 3), uint8),
        "kind": ArraySpec((), int32, 3),
    }
    steps, first = steps_of(data), 0
    assert len(steps["reward"]) == 5 + 3
    for observations, actions, num, terminated in episodes[:2]:
        own = {name: array[first : first + num + 1] for name, array in steps.items()}
        first += num + 1
        np.testing.assert_allclose(own["arm/angle"], observations["arm"]["angle"], atol=1e-7)
        np.testing.assert_array_equal(own["kind"], observations["kind"] - 5)
        np.testing.assert_array_equal(own["image"], np.moveaxis(observations["image"], 1, -1))
        scaled = actions / [2, 0.5] - [0, 1]
        np.testing.assert_allclose(own["action"], [*scaled, [0, 0]], atol=1e-6)
        assert own["reward"].tolist() == list(range(num + 1))
        assert own["is_last"].tolist() == [False] * num + [True]
        assert own["is_terminal"].tolist() == [False] * num + [terminated]


@pytest.mark.exhaustive
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_a_long_episode_is_read_whole_or_refused(create, tmp_path, data_format):
    """Minari writes 32,768 rows of Arrow's at once, in any order, and reads the first of these."""
    from gymnasium import spaces

    space = spaces.Dict({"at": spaces.Box(-1, 1, (2,)), "kind": spaces.Discrete(9, start=2)})
    rng, episodes = np.random.default_rng(0), []
    for num in (5, 32_767, 100_000):
        observations = {
            "at": rng.uniform(-1, 1, (num + 1, 2)).astype(np.float32),
            "kind": rng.integers(2, 11, num + 1),
        }
        episodes.append((observations, rng.integers(0, 3, num), num, True))
    source = create(space, spaces.Discrete(3), episodes, data_format=data_format)

    for expected, (_, read) in zip(episodes, MinariSource(source).episodes(), strict=True):
        observations, actions, num, _ = expected
        if num == 100_000 and data_format != "hdf5":
            with pytest.raises(Refused, match=r"of its 100,000 steps, .* store the .* as hdf5$"):
                read()
            continue
        episode = read()
        np.testing.assert_array_equal(episode.observation["at"], observations["at"])
        np.testing.assert_array_equal(episode.observation["kind"], observations["kind"] - 2)
        np.testing.assert_array_equal(episode.action, actions)
        np.testing.assert_array_equal(episode.reward, np.arange(1.0, num + 1))
        assert episode.terminated.tolist() == [False] * (num - 1) + [True]


@pytest.mark.exhaustive
def test_discrete_actions_begin_at_zero(create, tmp_path):
    from gymnasium import spaces

    episodes = [(np.zeros((4, 2), np.float32), np.array([3, 5, 4]), 3, True)]
    source = create(spaces.Box(-1, 1, (2,)), spaces.Discrete(3, start=3), episodes)
    data = imported(source, tmp_path / "out", "--task", "mine")
    assert (data.task, data.spec.discrete, data.spec.action_size) == ("mine", True, 3)
    assert steps_of(data)["action"].tolist() == [0, 2, 1, 0]


@pytest.mark.exhaustive
def test_infinite_bounds_and_other_spaces_are_one_line(create, tmp_path, capsys):
    from gymnasium import spaces

    box = spaces.Box(-1, 1, (2,))
    episodes = [(np.zeros((4, 2), np.float32), np.full((3, 2), 7.0, np.float32), 3, True)]
    source = create(box, spaces.Box(-np.inf, np.inf, (2,)), episodes)
    error, code, _ = failure(capsys, source, tmp_path / "out")
    assert error.startswith("error: Actions must have finite bounds, but the space is Box(-inf, ")
    assert (code, error.count("`--low`")) == (2, 1)
    steps = steps_of(imported(source, tmp_path / "out", "--low", "-10", "--high", "10"))
    np.testing.assert_allclose(steps["action"], [[0.7] * 2] * 3 + [[0, 0]], atol=1e-6)
    error, _, _ = failure(capsys, source, tmp_path / "b", "--num_actions", "3")
    assert "`--num_actions` is for .npz files" in error


@pytest.mark.exhaustive
def test_a_damaged_dataset_is_one_line(tmp_path):
    pytest.importorskip("minari")
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(UsageError, match=r"is no Minari dataset: .*\.$") as error:
        MinariSource(tmp_path)
    assert "\n" not in str(error.value)
