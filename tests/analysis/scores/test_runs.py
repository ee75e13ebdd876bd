"""From run folders to tables."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from run_folders import configured, write_run

from gpld.analysis.scores import (
    ARMS,
    CHECKPOINT_SCORES,
    label_arms,
    last_common_frame,
    read_runs,
    score_at,
    score_table,
    tidy,
    write_csv,
)
from gpld.config import EnvConfig
from gpld.errors import UsageError

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
    np.testing.assert_array_equal(run.frames, [10_016, 20_000, 30_016, 40_000])
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
    assert last_common_frame([run]) == 14_016


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
    assert last_common_frame(runs) == 10_000
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


def test_the_tidy_table(run, tmp_path):
    records = tidy([run])
    assert records[2]._asdict() == {
        "arm": "GPLD",
        "task": "walker_run",
        "seed": 3,
        "env_step": 15_008,
        "frame": 30_016,
        "episodes": 3,
        "score": 110.0,
        "std": pytest.approx(np.sqrt(200)),
    }
    write_csv(tmp_path / "scores.csv", records)
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert (rows[0]["frame"], float(rows[0]["score"])) == ("10016", 20.0)


def test_evaluations_of_checkpoints(run):
    assert read_runs([run.path], source="checkpoints")[0].returns == ()
    (run.path / CHECKPOINT_SCORES).write_text("{}")
    with pytest.raises(UsageError, match=r"evaluation.json is not what `scripts/evaluate.py --out"):
        read_runs([run.path], source="checkpoints")
    checkpoints = [
        {"env_step": 20_000, "evaluations": [{"scores": [1.0, 2.0]}, {"scores": [6.0, 7.0]}]},
        {"env_step": 10_000, "evaluations": [{"scores": [5.0]}]},
    ]
    (run.path / CHECKPOINT_SCORES).write_text(json.dumps({"checkpoints": checkpoints}))
    (again,) = read_runs([run.path], source="checkpoints")
    assert again.returns == ((5.0,), (1.0, 2.0, 6.0, 7.0))
    assert score_at(again, frame=40_000) == 4


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
