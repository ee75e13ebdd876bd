"""What a sweep says when its jobs are done, or submitted: the report, or how to make it."""

import pytest
from run_folders import write_run

from gpld.commands import sweep as command
from gpld.commands.sweep import main as sweep
from gpld.sweep import plan, read_sweep

FILE = """
preset = "debug"
tasks = ["walker_run"]
seeds = [0]

[settings]
env_steps = 100

[arms.DreamerV3]
gpld.lambda0 = 0.0

[arms.GPLD]
"""


@pytest.fixture
def grid(tmp_path):
    """The file of a sweep, its folder and the jobs."""
    path = tmp_path / "grid.toml"
    path.write_text(FILE)
    return path, tmp_path / "out", plan(read_sweep(path), tmp_path / "out")


def finish(jobs, evaluations=((50, [1.0]), (100, [3.0]))):
    for job in jobs:
        write_run(job.path, job.config, evaluations)


def test_a_finished_sweep_has_a_report_in_its_folder(grid, capsys):
    file, out, jobs = grid
    finish(jobs)
    args = [str(file), "--out", str(out)]
    sweep([*args, "--dry_run"])
    assert not (out / "report").exists()
    capsys.readouterr()
    page = out / "report" / "report.html"
    page.parent.mkdir()
    page.write_text("of before")
    sweep(args)
    printed = capsys.readouterr().out
    assert printed.startswith("2 of 2 jobs are finished, 0 are left\n")
    assert "| walker_run | 3.0 ± -; 3.0; 1 | 3.0 ± -; 3.0; 1 |" in printed
    assert printed.endswith(f"look at it in a browser: {page}\n")
    assert "<title>grid</title>" in page.read_text()
    assert (page.parent / "curves.png").read_bytes().startswith(b"\x89PNG")


def blocked(out):
    (out / "report").write_text("mine")


def undrawable(out):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("trouble", "reason"), [(blocked, "report must be a folder"), (undrawable, "ZeroDivisionError")]
)
def test_a_sweep_does_not_fail_because_nothing_can_be_drawn(
    grid, capsys, monkeypatch, trouble, reason
):
    file, out, jobs = grid
    finish(jobs)
    drawn = command.compare

    def compare(*args, **options):
        trouble(out)
        drawn(*args, **options)

    monkeypatch.setattr(command, "compare", compare)
    sweep([str(file), "--out", str(out)])
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("no report: ")
    assert reason in first
    assert second == f"`gpld plot {out} --out {out / 'report'} --source training` tries again"


def test_jobs_on_slurm_that_have_not_ended_leave_the_report_to_a_command(grid, capsys, monkeypatch):
    file, out, _ = grid
    file.write_text("evaluation_episodes = 3\n" + FILE)
    monkeypatch.setattr(command, "_run_on_slurm", lambda jobs, root, options: [])
    sweep([str(file), "--out", str(out), "--where", "slurm"])
    *_, last = capsys.readouterr().out.splitlines()
    assert last == (
        f"`gpld plot {out} --out {out / 'report'} --source checkpoints` "
        "writes a report once the jobs have ended"
    )
