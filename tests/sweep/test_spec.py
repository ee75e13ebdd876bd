"""What a sweep is, from the file that says it."""

import pytest

from gpld.config import flatten
from gpld.errors import UsageError
from gpld.sweep import Sweep, plan, read_sweep
from gpld.sweep.job import record

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
        (
            "tasks = ['hopper_hop']\nseeds = [0]\narms.a = {}\ntask = 1",
            "no 'task' in a sweep, but tasks, arms, seeds,",
        ),
        (
            "tasks = ['hopper_hop']\nseeds = [0]\narms.a = 1",
            "`arms` must be a table, each a table, got",
        ),
        ("tasks = ['walk']\nseeds = [0]\narms.a = {}", "Arm a on walk: "),
        (
            "tasks = ['hopper_hop']\nseeds = [0]\narms.a.gpld.lambda = 1",
            "`gpld.lambda` is not a setting of arms, but in arms.a; did you mean gpld.lambda0?",
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("foo = 1", "no 'foo' in a sweep, but tasks, arms, seeds, preset, settings,"),
        ("tasks = 'hopper_hop'", "`tasks` must be a list, each text, got 'hopper_hop'"),
        ("tasks = [1]", "`tasks` must be a list, each text, got [1]"),
        ("tasks = [['a']]", "`tasks` must be a list, each text, got [['a']]"),
        ("tasks = {a = 1}", "`tasks` must be a list, each text, got {'a': 1}"),
        ('tasks = ["a\\u0000b"]', "`tasks` must be names on one line, got ['a\\x00b']"),
        ("seeds = '0'", "`seeds` must be a list, each a whole number, got '0'"),
        ("seeds = 0", "`seeds` must be a list, each a whole number, got 0"),
        ("seeds = [0.5]", "`seeds` must be a list, each a whole number, got [0.5]"),
        ("seeds = [true]", "`seeds` must be a list, each a whole number, got [True]"),
        ("seeds = [99999999999]", "`seed` must be in [0, 2**32 - `seeds`], got 99999999999"),
        ("arms = ['a']", "`arms` must be a table, each a table, got ['a']"),
        ("arms = {a = 5}", "`arms` must be a table, each a table, got {'a': 5}"),
        ("arms = {'..' = {}}", "`arms` must have names of folders, got '..'"),
        ("arms = {'' = {}}", "`arms` must have names of folders, got ''"),
        (f"arms = {{{300 * 'x'} = {{}}}}", "`arms` must have names of folders, got 'xxx"),
        ("arms.a.foo = 1", "`foo` is not a setting of arms, but in arms.a."),
        ("arms.a.help = ''", "`help` is not a setting of arms, but in arms.a."),
        ("arms.a.gpld.lambda0 = 'x'", "arms.a: `gpld.lambda0` must be a number, got 'x'"),
        ("settings = [1]", "`settings` must be a table, got [1]"),
        ("settings.env_steps = 1.5", "settings: `env_steps` must be a whole number, got 1.5"),
        ("settings.env_steps = true", "settings: `env_steps` must be a whole number, got True"),
        ("settings.env_steps = 2020-01-01", "`env_steps` must be a whole number, got datetime."),
        ("settings.env_steps = [[1]]", "settings: `env_steps` must be a whole number, got [[1]]"),
        ("settings.model.multipliers = true", "`model.multipliers` must be a list, each a whole"),
        ("settings.init.from = '--help'", "`init.from` must be a text on one line, not beginning"),
        ("settings.init.modules = ['--help']", "`init.modules` must be a text on one line, not"),
        ("settings.log.wandb = ''", "--log.wandb must not be empty"),
        ("preset = 5", "`preset` must be text, got 5"),
        ("preset = 'x'", "preset"),
        ("seeds_per_program = '2'", "`seeds_per_program` must be a whole number, got '2'"),
        ("evaluation_episodes = 1.5", "`evaluation_episodes` must be a whole number, got 1.5"),
        (f"settings.model.multipliers = {5000 * '['}", "sweep.toml: it is nested too deeply"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(tmp_path, line, message):
    rest = {"tasks": "tasks = ['hopper_hop']", "seeds": "seeds = [0]", "arms": "arms.a = {}"}
    key = line.partition(" ")[0].partition(".")[0]
    text = "\n".join([line, *(own for name, own in rest.items() if name != key)])
    with pytest.raises(UsageError) as error:
        plan(read_sweep(written(tmp_path, text)), tmp_path / "out")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nraise ValueError('no\\nway')", "grid.py, line 2: ValueError: no"),
        ("x = 1\ny = (", "grid.py, line 2: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(0)", "grid.py, line 2: SystemExit: 0"),
        ("import nothing_here", "grid.py, line 1: ModuleNotFoundError: No module named"),
        (
            "from gpld.sweep import Sweep\n\nsweep = Sweep(tasks=[], arms={'a': {}}, seeds=[0])",
            "grid.py, line 3: ValueError: `tasks` must be different, and at least one, got []",
        ),
        (
            "from gpld.sweep import Sweep\nsweep = Sweep(tusks=[])",
            "grid.py, line 2: TypeError: ",
        ),
    ],
)
def test_mistakes_in_python_are_one_line(tmp_path, code, message):
    with pytest.raises(UsageError) as error:
        read_sweep(written(tmp_path, code, "grid.py"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_with_another_sweep_or_none(tmp_path):
    sweep = Sweep(tasks=["hopper_hop"], arms={"a": {}}, seeds=range(2), preset="debug")
    record(sweep, tmp_path)
    record(sweep, tmp_path)
    for name, contents, message in (
        ("sweep.json", "[1]", "sweep.json must hold a JSON object, but it holds a list"),
        ("sweep.json", '{"a', "sweep.json is damaged: it is not JSON"),
        ("sweep.json", "{}", "`seeds_per_program` must be None, as in"),
        ("arms.json", "[1]", "arms.json must hold a JSON object, but it holds a list"),
    ):
        (tmp_path / name).write_text(contents)
        with pytest.raises(UsageError, match=message):
            record(sweep, tmp_path)
        (tmp_path / name).unlink()


def test_files_that_are_not_there_or_make_nothing(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.toml cannot be read: No such file"):
        read_sweep(tmp_path / "nothing.toml")
    with pytest.raises(UsageError, match="must make `sweep = "):
        read_sweep(written(tmp_path, "x = 1\n", "x.py"))
