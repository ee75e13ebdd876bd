"""From run folders to tables."""

import csv
import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from run_folders import configured, write_evaluation, write_run

from gpld.analysis.published import published_curves
from gpld.analysis.scores import (
    ARMS,
    CHECKPOINT_SCORES,
    find_runs,
    label_arms,
    normalised,
    read_checkpoint_scores,
    read_runs,
    runs as runs_module,
    score_at,
    score_table,
    write_csv,
)
from gpld.config import EnvConfig, to_dict
from gpld.errors import UsageError
from gpld.runs.folder import RunFolder

# 16 environments, an evaluation every 5,000 env steps, action repeat 2: due at 10,000 frames,
# it takes place at 10,016.
EVALUATIONS = [
    (5_008, [10.0, 20.0, 30.0]),
    (10_000, [40.0, 50.0, 60.0]),
    (15_008, [100.0, 100.0, 130.0]),
    (20_000, [200.0, 210.0, 220.0]),
]


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / "run", configured("walker_run", 3, env_steps=20_000), EVALUATIONS)
    (run,) = read_runs([tmp_path])
    return run


def test_clocks_of_a_run(run):
    assert (run.task, run.arm, run.seed, run.action_repeat) == ("walker_run", "GPLD", 3, 2)
    np.testing.assert_array_equal(run.env_steps, [5_008, 10_000, 15_008, 20_000])
    np.testing.assert_array_equal(run.due_frames, [10_000, 20_000, 30_000, 40_000])
    np.testing.assert_array_equal(run.scores, [20, 50, 110, 210])


@pytest.mark.parametrize(
    ("frame", "window_frames", "expected"),
    [
        (40_000, 0, 210),
        (39_999, 0, 110),
        (30_000, 0, 110),
        (30_000, 10_000, 110),
        (30_000, 10_001, 80),  # the window has no beginning of its own
        (40_000, 30_000, (50 + 110 + 210) / 3),
        (45_000, 0, 210),
        (1_000_000, 970_000, 210),
    ],
)
def test_score_at_a_frame(run, frame, window_frames, expected):
    assert score_at(run, frame=frame, window_frames=window_frames) == pytest.approx(expected)


def test_no_score_where_there_was_no_evaluation(run):
    with pytest.raises(UsageError, match=r"no evaluation in the 10,000 frames up to 9,999; its"):
        score_at(run, frame=9_999)
    with pytest.raises(UsageError, match=r"up to 1,000,000; its evaluations are at 10,000 to"):
        score_at(run, frame=1_000_000)
    with pytest.raises(ValueError, match="`window_frames` must be at least 0, got -1"):
        score_at(run, frame=40_000, window_frames=-1)


def test_the_evaluation_at_the_end_is_where_the_end_is(tmp_path):
    config = configured("walker_run", 0, env_steps=7_000)
    write_run(tmp_path / "run", config, [(5_008, [1.0]), (7_008, [2.0])])
    (run,) = read_runs([tmp_path])
    np.testing.assert_array_equal(run.due_frames, [10_000, 14_016])
    assert score_table([run]).frame == 14_016


def test_tables_by_arm_and_task_and_what_is_missing(tmp_path):
    for lambda0, arm in ((0.0, "baseline"), (0.5, "gpld")):
        for seed in range(3):
            score = 100 * seed + (arm == "gpld")
            config = configured("walker_run", seed, env_steps=10_000, lambda0=lambda0)
            evaluations = [(5_008, [score]), (10_000, [2 * score])]
            write_run(tmp_path / arm / f"seed{seed}", config, evaluations[: 2 - (score == 201)])
    runs = read_runs([tmp_path / "baseline", tmp_path / "gpld"])
    assert [(run.arm, run.seed) for run in runs] == [
        (arm, seed) for arm in ("DreamerV3", "GPLD") for seed in range(3)
    ]
    assert score_table(runs).frame == 10_000
    early = score_table(runs)
    assert (early.frame, early.missing) == (10_000, [])
    np.testing.assert_array_equal(early.scores["GPLD"]["walker_run"], [1, 101, 201])
    late = score_table(runs, frame=20_000)
    np.testing.assert_array_equal(late.scores["GPLD"]["walker_run"], [2, 202])
    np.testing.assert_array_equal(late.scores["DreamerV3"]["walker_run"], [0, 200, 400])
    (missing,) = late.missing
    assert "GPLD on walker_run, seed 2" in missing
    ours, theirs = late.common("GPLD", "DreamerV3")
    assert list(ours) == list(theirs) == ["walker_run"]
    with pytest.raises(UsageError, match="no arm GPDL at 20,000 frames, but DreamerV3, GPLD"):
        late.common("GPDL")


def test_seeds_of_a_file_at_two_places_are_those_of_one_task(tmp_path):
    for seed, folder in enumerate(("/here", "/moved/there")):
        config = configured(f"{folder}/mine.py:make", seed, env_steps=5_000)
        write_run(tmp_path / f"{seed}", config, [(5_000, [float(seed)])])
    runs = read_runs([tmp_path])
    assert [(run.task, run.arm) for run in runs] == 2 * [("mine.py:make", "GPLD")]
    (scores,) = score_table(runs).scores["GPLD"].values()
    np.testing.assert_array_equal(scores, [0, 1])


def test_only_common_tasks_are_compared(tmp_path):
    write_run(tmp_path / "a", configured("walker_run", 0, env_steps=5_000), [(5_008, [1.0])])
    both = {"b": ("walker_walk", 0.5), "c": ("walker_walk", 0.0)}
    for name, (task, lambda0) in both.items():
        config = configured(task, 0, env_steps=5_000, lambda0=lambda0)
        write_run(tmp_path / name, config, [(5_008, [2.0])])
    table = score_table(read_runs([tmp_path]))
    ours, theirs = table.common("GPLD", "DreamerV3")
    assert list(ours) == list(theirs) == ["walker_walk"]
    other = table._replace(scores=table.scores | {"x": {"hopper_hop": np.zeros(1)}})
    with pytest.raises(UsageError, match="x and GPLD have no task in common"):
        other.common("x", "GPLD")


def test_arguments_that_may_change_a_known_range_make_another_task(tmp_path):
    kwargs = '{"sutton_barto_reward": true}'
    for task in ("gymnasium:CartPole-v1", "gymnasium:Pendulum-v1"):
        config = configured(task, 0, env_steps=5_000)
        changed = dataclasses.replace(config.env, kwargs=kwargs)
        for seed, env in enumerate((config.env, changed)):
            own = dataclasses.replace(config, seed=seed, env=env)
            write_run(tmp_path / f"{task}{seed}", own, [(5_008, [-1.0])])
    runs = read_runs([tmp_path])
    cartpole = [run for run in runs if "CartPole" in run.task]
    assert [(run.arm, run.task) for run in cartpole] == [
        ("GPLD", "gymnasium:CartPole-v1"),
        ("GPLD", f"gymnasium:CartPole-v1 {kwargs}"),
    ]
    assert list(normalised({run.task: run.scores for run in cartpole})) == ["gymnasium:CartPole-v1"]
    # Where no range is known, they tell arms of one task apart.
    pendulum = [(run.arm, run.task) for run in runs if "Pendulum" in run.task]
    assert pendulum == [
        (f"GPLD, env.kwargs {own}", "gymnasium:Pendulum-v1") for own in (kwargs, "{}")
    ]


def test_the_table_of_all_evaluations(run, tmp_path):
    write_csv(tmp_path / "scores.csv", [run])
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert (rows[0]["frame"], float(rows[0]["score"])) == ("10016", 20.0)
    assert float(rows[2].pop("std")) == pytest.approx(np.sqrt(200))
    assert rows[2] == {
        "arm": "GPLD",
        "task": "walker_run",
        "seed": "3",
        "env_step": "15008",
        "frame": "30016",
        "episodes": "3",
        "score": "110.0",
    }


def test_evaluations_of_checkpoints(run):
    assert read_runs([run.path], source="checkpoints")[0].returns == ()
    file = run.path / CHECKPOINT_SCORES
    config = RunFolder(run.path).config()
    write_evaluation(RunFolder(run.path), config, [5.0])
    values = json.loads(file.read_text())
    later = {"env_step": 20_000, "evaluations": [{"scores": [1.0, 2.0]}, {"scores": [6.0, 7.0]}]}
    values["checkpoints"].insert(0, values["checkpoints"][0] | later)
    file.write_text(json.dumps(values))
    (again,) = read_runs([run.path], source="checkpoints")
    assert again.returns == ((5.0,), (1.0, 2.0, 6.0, 7.0))
    assert score_at(again, frame=40_000) == 4
    assert score_table([again]).episodes == {4: [again.name]}


@pytest.mark.parametrize(
    "change",
    [
        {"evaluations": [{"scores": []}]},
        {"evaluations": [{"scores": [None]}]},
        {"evaluations": [{"scores": ["3"]}]},
        {"evaluations": [{"scores": [float("nan")]}]},
        {"evaluations": [{"scores": [10**400]}]},
        {"evaluations": None},
        {"env_step": "10000"},
        {"env_step": 1e3},
        {"env_step": -1},
        {"env_step": 10**30},
        {"task": None},
        {"task": []},
    ],
)
def test_damaged_evaluations_of_checkpoints_are_one_line(run, change):
    file = run.path / CHECKPOINT_SCORES
    write_evaluation(RunFolder(run.path), RunFolder(run.path).config(), [5.0])
    values = json.loads(file.read_text())
    for damaged in (
        {"settings": values["settings"], "checkpoints": [values["checkpoints"][0] | change]},
        {"settings": values["settings"]},
        {"checkpoints": values["checkpoints"]},
        {"settings": None, "checkpoints": values["checkpoints"]},
        {"settings": {"actions": "x", "seeds": [0]}, "checkpoints": values["checkpoints"]},
        {"settings": values["settings"], "checkpoints": [3]},
    ):
        file.write_text(json.dumps(damaged))
        with pytest.raises(UsageError, match=r"evaluation\.json (is not|holds evalu)") as error:
            read_runs([run.path], source="checkpoints")
        assert "\n" not in str(error.value)
    file.write_text("[]")
    with pytest.raises(UsageError, match="must hold a JSON object"):
        read_runs([run.path], source="checkpoints")


def test_evaluations_stay_with_the_run_that_they_are_of(tmp_path):
    config = configured("walker_run", 0, env_steps=10_000)
    folder = write_run(tmp_path / "a", config, [])
    write_evaluation(folder, config, [1.0, 2.0])
    other = write_run(tmp_path / "b", config, [])
    shutil.copy(folder.path / CHECKPOINT_SCORES, other.path)
    with pytest.raises(UsageError, match=r"json holds evaluations of another run, .*/a"):
        read_checkpoint_scores(other.path)
    moved = folder.path.rename(tmp_path / "c")
    scores = read_checkpoint_scores(moved)
    assert scores is not None
    assert (scores.actions, scores.seeds, scores.returns) == ("sampled", (0,), {10_000: (1.0, 2.0)})
    # The same start, but the settings of another seed or task.
    for other in (configured("walker_run", 1), configured("walker_walk", 0)):
        (moved / "config.json").write_text(json.dumps(to_dict(other)))
        with pytest.raises(UsageError, match="of another run"):
            read_checkpoint_scores(moved)


def write_older_evaluation(folder, config):
    """Evaluations as version 0.1 has written them."""
    write_evaluation(folder, config, [1.0])
    values = json.loads((folder.path / CHECKPOINT_SCORES).read_text())
    for new in ("run_seed", "run_started"):
        del values["checkpoints"][0][new]
    (folder.path / CHECKPOINT_SCORES).write_text(json.dumps(values))


def test_older_evaluations_are_told_apart_by_their_folders(tmp_path):
    config = configured("walker_run", 0, env_steps=10_000)
    sweep = tmp_path / "sweep"
    for name in ("sweep/A/walker_run/seed0", "sweep/B/walker_run/seed0", "alone", "other"):
        write_older_evaluation(write_run(tmp_path / name, config, []), config)
    (sweep / ARMS).write_text("{}")
    moved = sweep.rename(tmp_path / "results")
    run = Path("walker_run", "seed0")
    assert read_checkpoint_scores(moved / "A" / run) is not None
    assert read_checkpoint_scores(tmp_path / "alone") is not None
    shutil.copy(moved / "A" / run / CHECKPOINT_SCORES, moved / "B" / run)
    shutil.copy(tmp_path / "alone" / CHECKPOINT_SCORES, tmp_path / "other")
    for copied in (moved / "B" / run, tmp_path / "other"):
        with pytest.raises(UsageError, match="of another run"):
            read_checkpoint_scores(copied)


def test_older_evaluations_go_with_copied_and_linked_runs(tmp_path):
    alone, place = tmp_path / "alone", tmp_path / "first" / "Old" / "walker_run"
    for path in (alone, place / "seed0", tmp_path / "moved"):
        config = configured("walker_run", 0, env_steps=10_000, run=str(path))
        write_older_evaluation(write_run(path, config, []), config)
    shutil.copytree(alone, tmp_path / "copy")
    assert read_checkpoint_scores(tmp_path / "copy") is not None
    (tmp_path / "first" / ARMS).write_text("{}")
    moved = (tmp_path / "first").rename(tmp_path / "second") / "Old" / "walker_run" / "seed0"
    linked = tmp_path / "sweep" / "New" / "walker_run" / "seed0"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(moved)
    (tmp_path / "sweep" / ARMS).write_text("{}")
    # Settings as of a run that was begun without `--run`: only places are left to compare.
    config = configured("walker_run", 0, env_steps=10_000)
    (moved / "config.json").write_text(json.dumps(to_dict(config)))
    assert read_checkpoint_scores(linked) is not None
    shutil.copy(alone / CHECKPOINT_SCORES, moved)
    with pytest.raises(UsageError, match="of another run"):
        read_checkpoint_scores(linked)
    shutil.copy(alone / CHECKPOINT_SCORES, tmp_path / "moved")
    with pytest.raises(UsageError, match="of another run"):
        read_checkpoint_scores(tmp_path / "moved")


def test_evaluations_with_other_actions_are_not_scores(run):
    folder = RunFolder(run.path)
    write_evaluation(folder, folder.config(), [5.0], actions="modes")
    with pytest.raises(UsageError, match=r"with `--actions modes`, and scores are of sampled ones"):
        read_runs([run.path], source="checkpoints")


def test_runs_are_found_once_behind_links_and_beside_folders_called_seed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for seed, path in enumerate((root / "a", root / "deep" / "b", elsewhere / "c")):
        write_run(path, configured("walker_run", seed, env_steps=5_000), [(5_008, [1.0])])
    (root / "a" / "seed_of_the_picture").mkdir()
    (root / "a" / "seed_of_the_picture" / "config.json").write_text("{}")
    (root / "a" / "seed3").mkdir()  # without a run in it
    (root / "a" / "link").symlink_to(elsewhere)  # what is inside of a run is no run
    (root / "again").symlink_to(root / "a")
    (root / "deep" / "up").symlink_to(root)
    (root / "deep" / "nowhere").symlink_to(root / "nothing")
    assert set(find_runs(root)) == {root / "a", root / "deep" / "b"}
    (root / "linked").symlink_to(elsewhere)
    found = list(find_runs(root))
    assert sorted(found) == [root / "a", root / "deep" / "b", root / "linked" / "c"]
    assert [run.seed for run in read_runs([root])] == [0, 1, 2]
    assert list(find_runs(root / "again")) == [root / "again"]


def test_links_do_not_lead_out_to_everything(tmp_path, monkeypatch):
    root = tmp_path / "above" / "root"
    write_run(root / "a", configured("walker_run", 0), [])
    write_run(tmp_path / "above" / "beside", configured("walker_run", 1), [])
    (root / "up").symlink_to(tmp_path)
    (root / "top").symlink_to("/")
    assert list(find_runs(root)) == [root / "a"]
    (root / "x").mkdir()
    monkeypatch.setattr(runs_module, "_MOST_FOLDERS", 3)
    assert list(find_runs(root)) == [root / "a"]
    (root / "x" / "y").mkdir()
    with pytest.raises(UsageError, match=r"more than 3 folders, the last .*/root/x/y; name the"):
        list(find_runs(root))


def test_a_folder_that_cannot_be_searched_is_not_one_without_runs(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "x" * 300):
        with pytest.raises(UsageError, match=r"cannot be read: (Too many levels|File name too)"):
            list(find_runs(tmp_path / name))
    (tmp_path / "file").write_text("")
    for name in ("nowhere", "file", "file/in"):
        assert list(find_runs(tmp_path / name)) == []


def test_a_run_that_is_linked_into_a_sweep_is_of_its_arm(tmp_path):
    config = configured("walker_run", 0, env_steps=5_000)
    write_run(tmp_path / "elsewhere", config, [(5_008, [1.0])])
    place = tmp_path / "sweep" / "first" / "walker_run"
    place.mkdir(parents=True)
    (place / "seed0").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "sweep" / ARMS).write_text(json.dumps({"first": "First arm"}))
    (run,) = read_runs([tmp_path / "sweep"])
    assert run.arm == "First arm"


def test_what_cannot_be_read_is_left_out_and_said(tmp_path):
    for seed in range(4):
        config = configured("walker_run", seed, env_steps=10_000)
        write_run(tmp_path / f"seed-{seed}", config, [(5_008, [1.0]), (10_000, [2.0])])
    (tmp_path / "seed-1" / "config.json").write_text("[]")
    (tmp_path / "seed-2" / "config.json").unlink()
    (tmp_path / "seed-2" / "config.json").symlink_to("config.json")
    lines = (tmp_path / "seed-3" / "scores.jsonl").read_text().splitlines()
    (tmp_path / "seed-3" / "scores.jsonl").write_text(f"{lines[0]}\nnull\n{lines[1]}\n")
    said = []
    runs = read_runs([tmp_path], unreadable=said.append)
    assert [(run.seed, run.returns) for run in runs] == [
        (0, ((1.0,), (2.0,))),
        (3, ((1.0,), (2.0,))),
    ]
    one, two, three = said
    assert one.startswith(f"{tmp_path / 'seed-1'} cannot be read: ")
    assert one.endswith("config.json must hold a JSON object, but it holds a list.")
    assert two.startswith(f"{tmp_path / 'seed-2'} cannot be read: ")
    assert three.startswith(f"{tmp_path / 'seed-3' / 'scores.jsonl'}, line 2 ")
    with pytest.raises(UsageError, match="must hold a JSON object"):
        read_runs([tmp_path])


def test_warnings_of_others_are_shown(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "a", configured("walker_run", 0), [(5_008, [1.0])])
    with (folder.path / "scores.jsonl").open("a") as file:
        file.write("null\n")

    class Deprecated(RunFolder):
        def read(self, name):
            warnings.warn("the old way", DeprecationWarning, stacklevel=1)
            return super().read(name)

    monkeypatch.setattr(runs_module, "RunFolder", Deprecated)
    said = []
    with pytest.warns(DeprecationWarning, match="the old way") as shown:
        read_runs([tmp_path], unreadable=said.append)
    assert [warning.filename for warning in shown] == [__file__]
    (line,) = said
    assert line.startswith(f"{folder.path / 'scores.jsonl'}, line 2 ")


@pytest.mark.parametrize("arms", ["[]", "{", '{"first": 3}', "null"])
def test_damaged_names_of_arms_are_said_once_for_each_run(tmp_path, arms):
    write_run(tmp_path / "first" / "a", configured("walker_run", 0), [(5_008, [1.0])])
    (tmp_path / ARMS).write_text(arms)
    said = []
    assert read_runs([tmp_path], unreadable=said.append) == []
    (line,) = said
    assert "arms.json" in line


def test_tasks_of_older_runs_have_their_one_name(tmp_path):
    for seed, task in enumerate(("cup_catch", "ball_in_cup_catch")):
        folder = write_run(
            tmp_path / f"s{seed}", configured("ball_in_cup_catch", seed), [(5_008, [1.0])]
        )
        values = json.loads((folder.path / "config.json").read_text()) | {"task": task}
        (folder.path / "config.json").write_text(json.dumps(values))
    runs = read_runs([tmp_path])
    assert [(run.task, run.seed) for run in runs] == [
        ("ball_in_cup_catch", 0),
        ("ball_in_cup_catch", 1),
    ]
    assert published_curves(runs[0].task)


def test_settings_without_a_task_are_no_run_of_the_default_one(tmp_path):
    folder = write_run(tmp_path / "a", configured("hopper_hop", 0), [(5_008, [1.0])])
    values = json.loads((folder.path / "config.json").read_text())
    del values["task"]
    (folder.path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match="`task` is missing"):
        read_runs([tmp_path])


def test_no_cell_of_the_table_is_a_formula(tmp_path, run):
    texts = ["=1+1", "+1", "-1", "@x", "a=b", ""]
    own = {"env_steps": run.env_steps[:1], "returns": ((-1.5,),)}
    write_csv(tmp_path / "scores.csv", [dataclasses.replace(run, arm=a, **own) for a in texts])
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@x", "a=b", ""]
    assert {row["score"] for row in rows} == {"-1.5"}  # a number is no formula


def test_seeds_that_are_trained_together_and_sweeps(tmp_path):
    config = configured("walker_run", 0, env_steps=5_000)
    together = tmp_path / "sweep" / "first" / "walker_run"
    write_run(together, dataclasses.replace(config, seeds=2), [])
    for seed in range(2):
        own = dataclasses.replace(config, seed=seed)
        write_run(together / f"seed{seed}", own, [(5_008, [float(seed)])])
    (tmp_path / "sweep" / ARMS).write_text(json.dumps({"first": "First arm"}))
    runs = read_runs([tmp_path])
    assert [(run.arm, run.seed) for run in runs] == [("First arm", 0), ("First arm", 1)]
    with pytest.raises(UsageError, match="are both First arm, walker_run, seed 0; a run must"):
        read_runs([tmp_path, together])
    with pytest.raises(UsageError, match="holds no run folder"):
        read_runs([tmp_path / "nowhere"])


def test_arms_are_named_after_what_tells_them_apart():
    def gpld(**changes):
        config = configured("walker_run", 0)
        return dataclasses.replace(config, gpld=dataclasses.replace(config.gpld, **changes))

    baseline = configured("walker_run", 0, lambda0=0.0)
    other_seed = configured("hopper_hop", 7, env_steps=5)
    assert label_arms([baseline, gpld(), other_seed]) == ["DreamerV3", "GPLD", "GPLD"]
    assert label_arms([baseline, gpld(rho=0.25), gpld()]) == [
        "DreamerV3",
        "GPLD, gpld.rho 0.25",
        "GPLD, gpld.rho 0.5",
    ]
    # Without a coefficient, how the penalty is estimated changes nothing.
    assert set(label_arms([baseline, gpld(lambda0=0.0, rho=0.25)])) == {"DreamerV3"}
    four = dataclasses.replace(baseline, env=EnvConfig(num_envs=4))
    assert label_arms([baseline, four]) == [
        "DreamerV3, env.num_envs 16",
        "DreamerV3, env.num_envs 4",
    ]
