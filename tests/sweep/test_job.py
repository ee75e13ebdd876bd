"""What is left of a sweep, by what is in its folder."""

import dataclasses
import json
import shutil

import pytest
from run_folders import write_evaluation, write_run

from gpld.analysis.scores import CHECKPOINT_SCORES, read_runs
from gpld.errors import UsageError
from gpld.runs.folder import RunFolder
from gpld.sweep import Sweep, plan
from gpld.sweep.forecast import predict
from gpld.sweep.job import record


def sweep_of(**changes):
    defaults = {"tasks": ["cartpole_balance"], "seeds": [0, 1], "preset": "debug"}
    settings = {"env_steps": 100}
    return Sweep(**{**defaults, "arms": {"Arm one": {}}, "settings": settings, **changes})


def checkpoint(run, env_step):
    RunFolder(run).checkpoint_path(env_step).mkdir(parents=True)


def test_a_run_is_finished_by_its_last_checkpoint(tmp_path):
    first, second = plan(sweep_of(), tmp_path)
    write_run(first.path, first.config, [(100, [1.0])])
    checkpoint(first.path, 60)
    assert (first.env_steps_left, first.finished) == (40, False)  # killed before the last one
    checkpoint(first.path, 100)
    assert (first.env_steps_left, first.finished) == (0, True)
    assert (second.env_steps_left, second.finished) == (100, False)
    longer = plan(sweep_of(settings={"env_steps": 150}), tmp_path)
    assert [job.env_steps_left for job in longer] == [50, 150]


def test_a_run_without_checkpoints_is_finished_by_its_last_evaluation(tmp_path):
    job, _ = plan(sweep_of(), tmp_path)
    write_run(job.path, job.config, [(50, [1.0])])
    assert not job.finished
    RunFolder(job.path).append("scores", [{"env_step": 100, "mean": 1.0, "scores": [1.0]}])
    assert job.finished


def test_the_last_agent_is_evaluated(tmp_path):
    job, other = plan(sweep_of(evaluation_episodes=3), tmp_path)
    folder = write_run(job.path, job.config, [])
    checkpoint(job.path, 100)
    assert job.trained
    assert not job.finished
    three = [1.0, 2.0, 3.0]
    for finished, scores, env_step, options in (
        (False, three, 60, {}),
        (False, three[:2], 100, {}),
        (False, three, 100, {"actions": "modes"}),
        (False, three, 100, {"seeds": (1,)}),
        (False, three, 100, {"seeds": (0, 1)}),
        (True, three, 100, {}),
    ):
        write_evaluation(folder, job.config, scores, env_step=env_step, **options)
        assert job.finished == finished
    other_folder = write_run(other.path, other.config, [])
    write_evaluation(other_folder, other.config, three, env_step=100)
    shutil.copy(other.path / CHECKPOINT_SCORES, job.path)
    assert not job.finished
    (job.path / CHECKPOINT_SCORES).write_text("{")
    assert not job.finished


def test_all_seeds_of_a_program_must_be_finished(tmp_path):
    (job,) = plan(sweep_of(seeds_per_program=2), tmp_path)
    for seed, env_step in ((0, 100), (1, 90)):
        config = dataclasses.replace(job.config, seed=seed, seeds=1)
        write_run(job.path / f"seed{seed}", config, [(env_step, [1.0])])
        checkpoint(job.path / f"seed{seed}", env_step)
    assert job.env_steps_left == 10
    record(sweep_of(seeds_per_program=2), tmp_path)
    assert [(run.arm, run.seed) for run in read_runs([tmp_path])] == [
        ("Arm one", 0),
        ("Arm one", 1),
    ]
    with pytest.raises(UsageError, match=r"`seeds_per_program` must be 2, as in .*, got 1"):
        record(sweep_of(), tmp_path)


def test_runs_with_other_settings_are_refused(tmp_path):
    job, _ = plan(sweep_of(), tmp_path)
    write_run(job.path, job.config, [])
    other = sweep_of(settings={"env_steps": 100, "gpld.rho": 0.25, "log.every": 10})
    with pytest.raises(UsageError, match=r"\(gpld.rho is 0.5 there and 0.25 here\); use them"):
        plan(other, tmp_path)


def test_a_task_is_there_once_by_all_its_names(tmp_path):
    with pytest.raises(UsageError, match="`tasks` must be different, got cup_catch, ball_in"):
        plan(sweep_of(tasks=["cup_catch", "ball_in_cup_catch"]), tmp_path)
    job, _ = plan(sweep_of(tasks=["cup_catch"]), tmp_path)
    assert job.path == tmp_path / "Arm_one" / "cup_catch" / "seed0"  # where older sweeps have it
    assert job.config.task == "ball_in_cup_catch"


def test_names_of_arms_stay_when_others_come(tmp_path):
    record(sweep_of(), tmp_path)
    record(sweep_of(arms={"two": {}}), tmp_path)
    assert json.loads((tmp_path / "arms.json").read_text()) == {"Arm_one": "Arm one", "two": "two"}


def test_hours_come_from_measured_runs(tmp_path):
    sweep = sweep_of(tasks=["cartpole_balance", "walker_run"], settings={"env_steps": 7200})
    jobs = plan(sweep, tmp_path)
    assert predict(jobs) == {}
    memory, walker, *others = jobs
    for job, seconds in ((memory, 2.0), (walker, 6.0)):
        folder = write_run(job.path, job.config, [])
        lines = [{"env_step": step, "time/seconds": 600 * seconds} for step in (600, 1200)]
        folder.append("metrics", lines)
    checkpoint(memory.path, 5400)
    hours = predict(jobs)
    assert hours[memory.name] == pytest.approx(1.0)  # 1,800 env steps of 2 s
    assert hours[walker.name] == pytest.approx(12.0)
    assert [hours[job.name] for job in others] == pytest.approx([4.0, 12.0])
    like = predict(jobs, like=memory.path)
    assert like[walker.name] == pytest.approx(4.0)
    with pytest.raises(UsageError, match="`--like` must name a run with metrics"):
        predict(jobs, like=write_run(tmp_path / "new", memory.config, []).path)


def test_hours_count_all_seeds_of_a_program(tmp_path):
    (job,) = plan(sweep_of(seeds_per_program=2, settings={"env_steps": 3600}), tmp_path)
    lines = [{"env_step": 100, "time/seconds": 400.0}]
    for run in job.runs:
        write_run(run, dataclasses.replace(job.config, seeds=1), []).append("metrics", lines)
    assert predict([job])[job.name] == pytest.approx(4.0)  # 4 s of both together
    # A run that was trained alone took 4 s itself: both would take 8 s.
    assert predict([job], like=job.runs[0])[job.name] == pytest.approx(8.0)
