"""`scripts/evaluate.py`, as a user runs it."""

import json
import re
import shutil

import numpy as np
import pytest
from run_script import run

import gpld
from gpld.analysis.scores import CHECKPOINT_SCORES, read_checkpoint_scores
from gpld.commands import evaluate as command
from gpld.commands.evaluate import main as evaluate
from gpld.commands.export import main as export
from gpld.config import Config, to_dict
from gpld.envs.dmc.opengl import find_backend
from gpld.errors import MachineError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with two checkpoints."""
    path = tmp_path_factory.mktemp("runs") / "cartpole"
    args = ("--preset", "debug", "--task", "cartpole_balance", "--checkpoint.every", "100")
    # Episodes of 100 steps.
    result = run("train.py", *args, "--env.action_repeat", "10", "--run", path)
    assert result.returncode == 0, result.stderr
    return path


@pytest.fixture
def again(finished, tmp_path):
    """The same run in another folder."""
    path = tmp_path / "elsewhere" / "cartpole"
    shutil.copytree(finished, path)
    return path


def returns(output):
    return [float(x) for x in re.findall(r"episode +\d+: return ([-\d.]+)", output)]


def test_several_checkpoints_and_seeds_in_one_file(finished, tmp_path):
    out = tmp_path / "new" / "scores.json"
    args = ("--env_steps", "all", "--seeds", "0", "3", "--episodes", "3", "--num_envs", "2")
    result = run("evaluate.py", finished, *args, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    record = json.loads(out.read_text())
    assert record["settings"] == {
        "episodes": 3,
        "seeds": [0, 3],
        "num_envs": 2,
        "actions": "sampled",
    }
    assert record["versions"]["mujoco"] == "3.17.0"
    first, last = record["checkpoints"]
    assert (first["env_step"], first["frame"], last["env_step"]) == (100, 1000, 200)
    assert (last["run"], last["task"]) == (str(finished), "cartpole_balance")
    assert last["update"] == 43
    everything = []
    for checkpoint in (first, last):
        scores = [score for e in checkpoint["evaluations"] for score in e["scores"]]
        assert checkpoint["mean"] == pytest.approx(np.mean(scores), abs=1e-12)
        assert checkpoint["std"] == pytest.approx(np.std(scores), abs=1e-12)
        for seed, evaluation in zip((0, 3), checkpoint["evaluations"], strict=True):
            assert evaluation["seed"] == seed
            assert evaluation["lengths"] == [101] * 3
            assert evaluation["std"] == pytest.approx(np.std(evaluation["scores"]), abs=1e-12)
        everything += scores
    assert len(set(everything)) == 12  # neither checkpoints nor seeds share episodes
    assert returns(result.stdout) == [float(f"{score:.3f}") for score in everything]
    summary = f"{finished} after 200 env steps and 43 updates: cartpole_balance, mean "
    assert result.stdout.splitlines()[-1].startswith(summary)
    assert "over 6 episodes" in result.stdout


def test_the_latest_checkpoint_and_seed_0_are_the_default(finished, capsys):
    evaluate([str(finished), "--episodes", "2"])
    default = capsys.readouterr().out
    evaluate([str(finished), "--episodes", "2", "--env_steps", "200", "--seeds", "0"])
    assert capsys.readouterr().out == default
    evaluate([str(finished), "--episodes", "2", "--env_steps", "100"])
    assert returns(capsys.readouterr().out) != returns(default)
    in_python = gpld.evaluate(finished, num_episodes=2).scores
    assert in_python == pytest.approx(returns(default), abs=5e-4)  # three decimals are shown
    other = gpld.evaluate(finished, num_episodes=2, env_step=100).scores
    assert other != pytest.approx(in_python, abs=5e-4)
    with pytest.raises(ValueError, match="`num_episodes` must be at least 1, got 0"):
        gpld.evaluate(finished, num_episodes=0)
    evaluate([str(finished), "--episodes", "2", "--actions", "modes"])
    assert returns(capsys.readouterr().out) != returns(default)


def test_a_video_of_every_checkpoint(finished, again, tmp_path):
    try:
        find_backend()
    except MachineError as error:
        pytest.skip(str(error))
    folder = tmp_path / "videos"
    args = ("--env_steps", "200", "--episodes", "1", "--video", folder)
    result = run("evaluate.py", finished, again, *args)
    assert (result.returncode, result.stderr) == (0, "")
    videos = sorted(folder.iterdir())
    assert len(videos) == 2  # although both runs have the same name
    assert all(video.name.endswith("cartpole-000000200.mp4") for video in videos)
    for video in videos:
        assert f"wrote {video}: 101 frames, 10 per second\n" in result.stdout
    # The same agent, seed and so actions: the same pictures.
    assert videos[0].read_bytes() == videos[1].read_bytes()


def test_a_machine_that_cannot_draw_evaluates_all_the_same(finished, tmp_path):
    out, video = tmp_path / "scores.json", tmp_path / "a.mp4"
    args = ("--episodes", "1", "--out", out, "--video", video)
    # With this, dm_control finds neither EGL nor OSMesa.
    broken = {"PYOPENGL_PLATFORM": "glx", "MUJOCO_GL": "off", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    result = run("evaluate.py", finished, *args, **broken)
    assert result.returncode == 0
    said = "warning: no video: No OpenGL library can draw here (egl: "
    assert result.stderr.startswith(said)
    assert "; osmesa: " in result.stderr
    assert result.stderr.endswith("libgl1` or `apt install libosmesa6` adds one.\n")
    assert result.stderr.count("\n") == 1
    assert len(json.loads(out.read_text())["checkpoints"]) == 1
    assert not video.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "`runs` must name the folder of a run"),
        (["nowhere"], "nowhere is not a run folder: it has no config.json"),
        (["RUN", "nowhere"], "nowhere is not a run folder: it has no config.json"),
        (["RUN", "--env_steps", "7"], "`env_steps` must be those of checkpoints in"),
        (["RUN", "--env_steps", "some"], "--env_steps"),
        (["RUN", "--episodes", "0"], "`episodes` must be at least 1, got 0"),
        (["RUN", "--num_envs", "0"], "`num_envs` must be at least 1, got 0"),
        (["RUN", "--seeds", "1", "1"], "`seeds` must be different numbers of at least 0"),
        (["RUN", "--seeds", "-1"], "`seeds` must be different numbers of at least 0"),
        (["RUN", "--seed", "1"], "Unknown flag --seed; did you mean --seeds"),
        (["RUN", "--actions", "mean"], "'mean'"),
        (["RUN", "--video", "a.avi"], "must end in .mp4 or .gif, got a.avi"),
        (["RUN", "--env_steps", "all", "--video", "a.mp4"], "a folder for 2 checkpoints"),
    ],
)
def test_bad_usage_is_one_line(finished, capsys, args, message):
    args = [str(finished) if arg == "RUN" else arg for arg in args]
    with pytest.raises(SystemExit) as exit:
        evaluate(args)
    output = capsys.readouterr()
    assert (exit.value.code, output.out) == (2, "")
    assert message in output.err
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1


def test_files_that_cannot_be_written_are_one_line(finished, tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    out = blocker / "scores.json"
    with pytest.raises(SystemExit) as exit:
        evaluate([str(finished), "--episodes", "1", "--out", str(out)])
    output = capsys.readouterr()
    assert (exit.value.code, output.out) == (2, "")  # before any episode
    assert output.err == f"error: {blocker} must be a folder, but it is a file.\n"


def test_the_scores_of_a_run_hold_those_of_no_other(finished, again, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(again)
    out = link / CHECKPOINT_SCORES
    for runs in ((finished, again), (finished,)):
        with pytest.raises(SystemExit) as exit:
            evaluate([*map(str, runs), "--episodes", "1", "--out", str(out)])
        output = capsys.readouterr()
        assert (exit.value.code, output.out) == (2, "")
        assert f"holds the scores of that run alone, and {finished} is another" in output.err
    evaluate([str(again), "--episodes", "2", "--out", str(out)])
    scores = read_checkpoint_scores(again)
    assert scores is not None
    assert (scores.actions, scores.seeds, list(scores.returns)) == ("sampled", (0,), [200])
    assert len(scores.returns[200]) == 2
    evaluate([str(again), "--episodes", "2", "--actions", "modes", "--out", str(out)])
    scores = read_checkpoint_scores(again)
    assert scores is not None
    assert scores.actions == "modes"


def test_runs_without_checkpoints_and_tasks_without_pictures(finished, tmp_path, capsys):
    for name in ("config.json", "run.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(SystemExit) as exit:
        evaluate([str(tmp_path)])
    assert exit.value.code == 1
    assert "holds no checkpoint" in capsys.readouterr().err

    shutil.copytree(finished, tmp_path / "probe")
    config = json.loads((finished / "config.json").read_text()) | {"task": "probe_memory"}
    config["env"]["action_repeat"] = 1
    (tmp_path / "probe" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as exit:
        evaluate([str(tmp_path / "probe"), "--video", str(tmp_path / "a.mp4")])
    assert exit.value.code == 2
    assert "can be drawn, which probe_memory is not" in capsys.readouterr().err


def test_only_tasks_of_the_suite_need_opengl_for_videos(tmp_path, monkeypatch, capsys):
    runs = (tmp_path / "own", tmp_path / "suite")
    for run_path, task in zip(runs, ("gymnasium:CartPole-v1", "walker_walk"), strict=True):
        run_path.mkdir()
        config = Config(task=task, precision="float32")
        (run_path / "config.json").write_text(json.dumps(to_dict(config)))

    def fail():
        raise MachineError("no library")

    monkeypatch.setattr(command, "find_backend", fail)
    for chosen, warns in ((runs[:1], False), (runs[1:], True), (runs, True)):
        options = command.EvaluateArgs(runs=chosen, video=tmp_path / "videos")
        videos = command._videos(options, [(run, 100) for run in chosen])
        assert {run for run, _ in videos} == set(chosen) & {runs[0]}
        assert ("no video: no library" in capsys.readouterr().err) == warns


def test_an_exported_agent_plays_the_same_episodes(finished, tmp_path, capsys):
    export([str(finished), str(tmp_path / "agent"), "--env_step", "100"])
    assert re.fullmatch(
        rf"wrote the agent of {finished} after 100 env steps to {tmp_path}/agent, 0\.\d MiB\n",
        capsys.readouterr().out,
    )
    played = []
    for folder, args in ((finished, ["--env_steps", "100"]), (tmp_path / "agent", [])):
        evaluate([str(folder), "--episodes", "2", *args])
        played.append(returns(capsys.readouterr().out))
    assert len(played[0]) == 2
    assert played[0] == played[1]
    result = run("train.py", "--resume", tmp_path / "agent")
    assert result.returncode == 2, result.stderr
    assert "agent is an exported agent, which has nothing to resume from" in result.stderr
