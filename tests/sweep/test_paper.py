"""The paper's tables and figures as sweeps."""

from pathlib import Path

import pytest

from gpld.commands.reproduce import main as reproduce
from gpld.config import flatten
from gpld.sweep import plan
from gpld.sweep.paper import EXPERIMENTS, SCALES, choices


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_setting_exists_and_arms_differ_in_what_they_say(name, tmp_path):
    full = EXPERIMENTS[name]
    experiment = full.scaled(SCALES["small"])
    for folder, stage in experiment.stages(tmp_path):
        config = {arm: stage.config(arm, stage.tasks[0], [0], Path()) for arm in stage.arms}
        flat = [tuple(flatten(own).items()) for own in config.values()]
        assert len(set(flat)) == len(flat)
        assert config["DreamerV3"].gpld.coefficients == {}
        assert folder.is_relative_to(tmp_path)
    assert set(experiment.tasks) <= set(full.tasks)
    assert choices(experiment)


def test_table_3_is_what_the_paper_says(tmp_path):
    ((_, sweep),) = EXPERIMENTS["table3"].stages(tmp_path)
    assert (len(sweep.tasks), len(sweep.seeds), sweep.evaluation_episodes) == (18, 5, 20)
    gpld = sweep.config("GPLD", "walker_run", [0], Path())
    assert (gpld.preset, gpld.env_steps, gpld.action_repeat) == ("paper", 500_000, 2)
    assert gpld.gpld.coefficients == {"gp_post": 0.5}


def test_figure_5_has_the_rows_of_table_4():
    arms = EXPERIMENTS["figure5"].arms
    assert len(arms) == 14
    assert arms["rho 0.5, posterior 0.25, prior 0.25"] == {
        "gpld.rho": 0.5,
        "gpld.target": "both",
        "gpld.lambda0": 0.25,
        "gpld.lambda0_prior": 0.25,
    }


def test_warm_starts_begin_with_the_baseline_of_their_task(tmp_path):
    donors, *warm = EXPERIMENTS["figure8"].stages(tmp_path)
    assert list(donors[1].arms) == ["DreamerV3"]
    paths = {job.config.task: job.path for job in plan(donors[1], donors[0])}
    for folder, sweep in warm:
        (task,) = sweep.tasks
        for job in plan(sweep, folder):
            assert job.config.init.from_ == str(paths[task])
            assert job.config.env.observations == "pixels"


@pytest.mark.parametrize("what", ["table3", "table4"])
def test_a_folder_that_cannot_be_written_is_found_before_the_training(tmp_path, capsys, what):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as exit:
        reproduce([what, "--scale", "tiny", "--out", str(tmp_path / "file")])
    output = capsys.readouterr()
    assert (exit.value.code, output.out, output.err.count("\n")) == (2, "", 1)
    assert str(tmp_path / "file") in output.err


def test_what_is_scaled_down_says_so(capsys, tmp_path):
    reproduce(["table3", "--scale", "tiny", "--out", str(tmp_path), "--dry_run"])
    printed = capsys.readouterr().out
    assert printed.startswith(
        "SCALED DOWN (tiny): preset debug instead of paper; 2 of 18 tasks; 2 of 5 seeds; "
        "400 of 500,000 env steps. The paper's numbers cannot be expected from it.\n"
    )
    assert "8 of 8 jobs are left" in printed
    reproduce(["table4", "--scale", "small", "--out", str(tmp_path), "--dry_run"])
    printed = capsys.readouterr().out
    out = tmp_path / "table4.json"
    assert printed == f"python scripts/benchmark.py table4 --preset small --out {out}\n"
