"""What a sweep is, from the file that says it."""

import pytest

from gpld.config import flatten
from gpld.errors import UsageError
from gpld.sweep import Sweep, plan, read_sweep

TOML = """
preset = "debug"
tasks = ["walker_run", "hopper_hop"]
seeds = [0, 1, 3]

[settings]
env_steps = 300
log.tensorboard = false
gpld.schedule.boundaries = [10, 20]
gpld.schedule.values = [0.5, 0.1]

[arms.DreamerV3]
gpld.lambda0 = 0.0

[arms."GPLD, joint"]
gpld.estimator = "joint"
env_steps = 400
env.workers = 0
"""


def written(tmp_path, text, name="sweep.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_every_arm_on_every_task_with_every_seed(tmp_path):
    sweep = read_sweep(written(tmp_path, TOML))
    jobs = plan(sweep, tmp_path / "out")
    assert [job.name for job in jobs[:4]] == [
        "DreamerV3/walker_run/seed0",
        "GPLD,_joint/walker_run/seed0",
        "DreamerV3/hopper_hop/seed0",
        "GPLD,_joint/hopper_hop/seed0",
    ]
    assert len({job.path for job in jobs}) == 12
    job = jobs[-1]
    assert (job.config.task, job.config.seed, job.config.env_steps) == ("hopper_hop", 3, 400)
    settings = flatten(job.config)
    assert settings["log.tensorboard"] is False
    assert settings["gpld.estimator"] == "joint"
    assert settings["gpld.schedule.boundaries"] == (10, 20)
    assert job.flags[-2:] == ("--run", str(job.path))
    assert jobs[0].config.env_steps == 300
    assert jobs[0].config.gpld.coefficients == {}
    assert not any(job.finished for job in jobs)


def test_a_python_file_says_the_same(tmp_path):
    code = (
        "from gpld.sweep import Sweep\n"
        "sweep = Sweep(tasks=['hopper_hop'], seeds=range(2), preset='debug',\n"
        "              arms={f'rho {rho}': {'gpld.rho': rho} for rho in (0.25, 0.5)})\n"
    )
    jobs = plan(read_sweep(written(tmp_path, code, "grid.py")), tmp_path)
    assert [(job.config.gpld.rho, job.config.seed) for job in jobs] == [
        (0.25, 0),
        (0.5, 0),
        (0.25, 1),
        (0.5, 1),
    ]


def test_seeds_of_one_program(tmp_path):
    sweep = Sweep(
        tasks=["hopper_hop"],
        arms={"a": {}},
        seeds=[3, 0, 1, 2, 4],
        preset="debug",
        seeds_per_program=2,
    )
    jobs = plan(sweep, tmp_path)
    assert [job.name.rpartition("/")[2] for job in jobs] == ["seeds0-1", "seeds2-3", "seed4"]
    assert [job.config.seeds for job in jobs] == [2, 2, 1]
    assert [run.name for run in jobs[1].runs] == ["seed2", "seed3"]
    assert jobs[2].runs == [jobs[2].path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks = [", "sweep.toml: "),
        ("tasks = []\nseeds = [0]\narms.a = {}", "`tasks` must be different, and at least one"),
        ("tasks = ['hopper_hop']\nseeds = [0, 0]\narms.a = {}", "`seeds` must be different"),
        ("tasks = ['hopper_hop']\nseeds = [-1]\narms.a = {}", "`seeds` must be numbers of"),
        ("tasks = ['hopper_hop']\nseeds = [0]", "sweep.toml: arms must be given"),
        ("tasks = ['hopper_hop']\nseeds = [0]\narms.a.seed = 1", "`seed` is not a setting"),
        ("tasks = ['hopper_hop']\nseeds = [0]\narms.a = {}\ntask = 1", "no task in a sweep"),
        ("tasks = ['hopper_hop']\nseeds = [0]\narms.a = 1", "sweep.toml: "),
        ("tasks = ['walk']\nseeds = [0]\narms.a = {}", "Arm a on walk: "),
        (
            "tasks = ['hopper_hop']\nseeds = [0]\narms.a.gpld.lambda = 1",
            "Unknown flag --gpld",
        ),
        (
            "tasks = ['hopper_hop']\nseeds = [0]\narms.a.gpld.rho = 2.0",
            "`gpld.rho` must be in",
        ),
        (
            "tasks = ['hopper_hop']\nseeds = [0]\narms = {'a b' = {}, 'a_b' = {}}",
            "in letters",
        ),
        (
            "tasks = ['hopper_hop']\nseeds = [0, 2]\nseeds_per_program = 2\narms.a = {}",
            "`seeds` of one program must follow each other, got (0, 2)",
        ),
    ],
)
def test_bad_files_are_one_line(tmp_path, text, message):
    with pytest.raises(UsageError) as error:
        plan(read_sweep(written(tmp_path, text)), tmp_path / "out")
    assert message in str(error.value)


def test_files_that_are_not_there_or_make_nothing(tmp_path):
    with pytest.raises(UsageError, match="Cannot read the sweep"):
        read_sweep(tmp_path / "nothing.toml")
    with pytest.raises(UsageError, match="must make `sweep = "):
        read_sweep(written(tmp_path, "x = 1\n", "x.py"))
