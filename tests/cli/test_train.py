"""`scripts/train.py` and `scripts/evaluate.py`, as a user runs them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from run_script import SCRIPTS, run

import gpld
from gpld.cli import parse_config
from gpld.config import Config, to_dict
from gpld.errors import MachineError, UsageError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the preset `debug`, and what it printed."""
    path = tmp_path_factory.mktemp("runs") / "walker"
    result = run("train.py", "--preset", "debug", "--task", "walker_walk", "--run", path)
    assert result.returncode == 0, result.stderr
    return path, result.stdout


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_announces_what_it_will_do(finished):
    _, output = finished
    for text in ("updates per env step", "parameters", "KiB for replay", "400 frames"):
        assert text in output
    assert "engine      batch: MuJoCo's batched simulation, 1 thread\n" in output


@pytest.mark.slow
def test_shows_plain_progress_where_there_is_no_terminal(finished):
    _, output = finished
    assert "done | env step 200/200 | no return yet | 43 updates | " in output
    assert "\x1b" not in output


@pytest.mark.slow
def test_the_last_lines_say_where_it_is_and_what_goes_on_with_it(finished):
    path, output = finished
    assert output.splitlines()[-4:] == [
        f"finished    {path}: 200 env steps, 43 updates",
        f"longer      python {SCRIPTS / 'train.py'} --resume {path} --env_steps 400",
        f"look        python {SCRIPTS / 'plot.py'} {path}",
        f"evaluate    python {SCRIPTS / 'evaluate.py'} {path}",
    ]


@pytest.mark.slow
def test_metrics_carry_three_clocks_and_means_of_updates(finished):
    path, _ = finished
    metrics = _lines(path / "metrics.jsonl")
    assert [line["env_step"] for line in metrics] == [50, 100, 150, 200]
    assert all(line["frame"] == 2 * line["env_step"] for line in metrics)
    # 1 + floor((200 - 32) / 4): training begins after 7 x 2 + 16 env steps.
    assert metrics[-1]["update"] == 43
    assert metrics[-1]["train/loss/rew"] > 0
    assert 0 < metrics[-1]["train/gp_post_lam"] <= 0.5


@pytest.mark.slow
def test_scores_keep_every_episode(finished):
    path, _ = finished
    [line] = _lines(path / "scores.jsonl")
    assert len(line["scores"]) == 1
    assert line["lengths"] == [501]
    assert 0 <= line["mean"] <= 1000


@pytest.mark.slow
def test_run_folder_records_settings_and_versions(finished):
    path, _ = finished
    expected = parse_config(["--preset", "debug", "--task", "walker_walk", "--run", str(path)])
    assert json.loads((path / "config.json").read_text()) == json.loads(
        json.dumps(to_dict(expected))
    )
    record = json.loads((path / "run.json").read_text())
    assert record["versions"]["mujoco"] == "3.17.0"
    assert record["parameters"]["total"] == sum(
        count for name, count in record["parameters"].items() if name != "total"
    )
    assert (path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_evaluate_prints_every_return(finished):
    path, _ = finished
    result = run("evaluate.py", path, "--episodes", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("episode ") == 2
    assert "mean" in result.stdout
    assert "standard deviation" in result.stdout


@pytest.mark.slow
def test_five_lines_of_python(finished):
    agent = gpld.load(finished[0])
    env = gpld.make_env(agent.config.task, seed=0, action_repeat=agent.config.action_repeat)
    step, state, length = env.reset(), agent.initial_state(), 1
    while not step.is_last:
        action, state = agent.act(step, state)
        step, length = env.step(action), length + 1
    assert length == 501


@pytest.mark.slow
def test_another_run_is_not_overwritten(finished):
    path, _ = finished
    files = lambda: {f: f.read_bytes() for f in path.rglob("*") if f.is_file()}  # noqa: E731
    before = files()
    result = run("train.py", "--preset", "debug", "--seed", "1", "--run", path)
    assert result.returncode == 2
    assert result.stderr.startswith(
        f"error: {path} holds a run with other settings (seed is 0 there"
    )
    assert result.stderr.count("\n") == 1
    assert files() == before


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    result = run("train.py", "--preset", "debug", "--run", tmp_path)
    assert result.returncode == 2
    assert "holds other files, such as thesis.tex; nothing was overwritten" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--task", "walker_wlk"], r"got 'walker_wlk'; did you mean walker_walk"),
        (["--gpld.lamda0", "1"], r"Unknown flag --gpld\.lamda0; did you mean --gpld\.lambda0"),
        (["--gpld.lambda0", "-1"], r"`gpld\.lambda0` must be non-negative, got -1\.0"),
        (["--gpld.lambda0", "x"], r"--gpld\.lambda0: could not convert string to float: 'x'"),
        (["--gpld.rho", "1.5"], r"`gpld\.rho` must be in \(0, 1\], got 1\.5"),
        (["--preset", "papr"], r"'papr'.*'paper', 'paper_pixels'"),
        (["--env_steps", "0"], r"`env_steps` must be at least 1, got 0"),
        (
            ["--seeds", "3", "--devices", "2"],
            r"`devices` must be a divisor of `seeds` \(3\), got 2",
        ),
        (["--model.deter", "100"], r"`model\.deter` must be a positive multiple"),
        (["--task"], r"Missing value for argument '--task'"),
        (
            ["--task", "dog_run", "--env.backend", "batch"],
            r"auto or dmc for dog_run, got batch: it",
        ),
        (
            ["--task", "probe_memory", "--env.action_repeat", "2"],
            r"`env\.action_repeat` must be 1 for probe_memory, got 2",
        ),
    ],
)
def test_bad_usage_is_one_line(args, message):
    with pytest.raises(UsageError, match=message) as error:
        parse_config(args)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_flags_override_the_preset():
    config = parse_config(["--gpld.lambda0", "0", "--preset", "authors", "--env.num-envs", "3"])
    assert config.gpld.lambda0 == 0
    assert config.gpld.reduction == "batch"
    assert config.env.num_envs == 3
    assert parse_config([]) == Config()


def test_unknown_task_ends_with_exit_code_2():
    result = run("train.py", "--task", "walker_fly")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


def test_task_list_shows_all_tasks():
    result = run("train.py", "--task", "list")
    assert result.returncode == 0
    assert result.stdout.split() == list(gpld.task_names())


def test_help_explains_settings_with_unit_and_source():
    result = run("train.py", "--help", COLUMNS="200")
    assert result.returncode == 0
    for text in ("--gpld.lambda0", "(paper, table 2)", "Env steps between evaluations"):
        assert text in result.stdout


def test_output_that_nobody_reads_is_no_error():
    command = f"'{sys.executable}' '{SCRIPTS / 'train.py'}' --help | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_missing_gpu_is_one_line(tmp_path):
    result = run(
        "train.py", "--platform", "gpu", "--run", tmp_path / "run", CUDA_VISIBLE_DEVICES=""
    )
    assert result.returncode == 1
    assert "found no GPU" in result.stderr
    assert not (tmp_path / "run").exists()


def test_unwritable_folder_is_one_line(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    result = run("train.py", "--preset", "debug", "--run", blocker / "run")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: Cannot write to {blocker / 'run'}")


@pytest.mark.slow
def test_checkpoints_that_cannot_be_read_are_one_line(finished, tmp_path):
    for name in ("config.json", "run.json"):
        (tmp_path / name).write_bytes((finished[0] / name).read_bytes())
    with pytest.raises(MachineError, match="holds no checkpoint"):
        gpld.load(tmp_path)
    checkpoint = tmp_path / "checkpoints" / "000000200"
    shutil.copytree(finished[0] / "checkpoints" / "000000200", checkpoint)
    os.truncate(checkpoint / "agent.eqx", 1000)
    with pytest.raises(MachineError, match=r"agent\.eqx has 1000 of \d+ bytes"):
        gpld.load(tmp_path)
    with pytest.raises(UsageError, match=r"that of a checkpoint in .* \(200\), got 7"):
        gpld.load(tmp_path, env_step=7)
