"""What a user can cause ends in one line and the same exit code, whichever command meets it."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest
from run_folders import configured, write_run

from gpld import cli
from gpld.cli import one_line_errors
from gpld.commands import (
    benchmark,
    check_env,
    evaluate,
    pack,
    plot,
    replay_update,
    reproduce,
    sensitivity,
    sweep,
    train,
)
from gpld.errors import LeftOut
from gpld.runs.folder import RunFolder

SWEEP = 'preset = "debug"\ntasks = ["cartpole_swingup"]\nseeds = [0]\n[arms.a]\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory: a run, a sweep file, and a link to itself."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", configured("walker_walk", 0), [(100, [5.0])])
    (tmp_path / "grid.toml").write_text(SWEEP)
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def error_of(capsys, main, *args):
    """Exit code and the only line on stderr."""
    with pytest.raises(SystemExit) as end:
        main(list(args))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return end.value.code, line


LONG = 300 * "x"
PATHS = [
    *((train, ("--resume", "PATH")), (train, ("--preset", "debug", "--run", "PATH"))),
    *((train, ("--preset", "debug", "--run", "new", "--offline", "PATH")),),
    *((evaluate, ("PATH",)), (plot, ("PATH",)), (pack, ("PATH", "packed.json.gz"))),
    *((pack, ("run", "PATH/x.json.gz")), (sweep, ("PATH",)), (sensitivity, ("PATH",))),
    *((sweep, ("grid.toml", "--out", "PATH")), (replay_update, ("PATH",))),
    *((benchmark, ("update", "--out", "PATH/x.json")), (benchmark, ("plot", "--results", "PATH"))),
    (reproduce, ("figure2", "--scale", "tiny", "--out", "PATH")),
]


@pytest.mark.parametrize(("command", "args"), PATHS)
@pytest.mark.parametrize("path", [LONG, "loop"], ids=["long", "loop"])
def test_a_path_that_cannot_be_is_a_usage_error(here, capsys, command, args, path):
    given = [arg.replace("PATH", path) for arg in args]
    code, line = error_of(capsys, command.main, *given)
    assert code == 2, line
    assert path[:100] in line
    assert len(line) < 700


@pytest.mark.parametrize(
    ("command", "args", "name"),
    [
        (train, ("--run", ""), "--run"),
        (train, ("--run=",), "--run"),
        (train, ("--resume", ""), "--resume"),
        (train, ("--offline", ""), "--offline"),
        (train, ("--init.from", ""), "--init.from"),
        (evaluate, ("",), "An argument"),
        (plot, ("", "run"), "An argument"),
        (pack, ("", "packed.json.gz"), "An argument"),
        (sweep, ("",), "An argument"),
        (sweep, ("grid.toml", "--out", ""), "--out"),
        (sensitivity, ("",), "An argument"),
        (replay_update, ("",), "An argument"),
        (check_env, ("",), "An argument"),
        (benchmark, ("update", "--out", ""), "--out"),
        (reproduce, ("figure2", "--out", ""), "--out"),
    ],
)
def test_nothing_is_not_the_working_directory(here, capsys, command, args, name):
    before = sorted(here.rglob("*"))
    assert error_of(capsys, command.main, *args) == (2, f"error: {name} must not be empty.")
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("command", [evaluate, sensitivity])
def test_a_run_of_an_unknown_task_is_not_evaluated(here, capsys, command):
    write_run(here / "other", configured("walker_wlk", 0), [(100, [5.0])])
    code, line = error_of(capsys, command.main, "other")
    assert (code, "`task` must be a known task, got 'walker_wlk'" in line) == (2, True)


@pytest.mark.parametrize("command", [train, evaluate, plot, sensitivity])
def test_settings_that_are_none_are_named_in_every_command(here, capsys, command):
    (here / "run" / "config.json").write_text("[1, 2]")
    args = ["--resume", "run"] if command is train else ["run"]
    code, line = error_of(capsys, command.main, *args)
    assert (code, "config.json must hold a JSON object" in line) == (2, True), line


def test_lines_that_are_left_out_are_warned_of_in_one_line(here, capsys):
    with (here / "run" / "scores.jsonl").open("a") as file:
        file.write("garbage\n")
    with warnings.catch_warnings(), one_line_errors():
        warnings.simplefilter("always", LeftOut)
        warnings.showwarning = lambda *args: sys.stderr.write(warnings.formatwarning(*args[:4]))
        RunFolder(Path("run")).read("scores")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: run/scores.jsonl, line 2 is damaged: it is not JSON")


def test_names_of_files_cannot_break_the_line(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise FileNotFoundError(2, "No such file", "a\nb\x1b[2J\udc80")
    assert capsys.readouterr().err == "error: a\\nb\\x1b[2J\\udc80 cannot be used: No such file.\n"


@pytest.mark.parametrize(
    ("error", "code"), [(FileNotFoundError(2, "no"), 2), (PermissionError(13, "no"), 1)]
)
def test_errors_of_files_that_nobody_expected(capsys, error, code):
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert end.value.code == code
    assert capsys.readouterr().err == "error: A file cannot be used: no.\n"


def test_other_errors_stay_as_they_are():
    for error in (RuntimeError("a bug"), AssertionError("another")):
        with pytest.raises(type(error)), one_line_errors():
            raise error


def _without_devices(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Unable to initialize backend 'x': It is not known. (set ...)"), "not known"),
        (AssertionError(), "no such device"),
    ],
)
def test_no_device_is_one_line(monkeypatch, capsys, error, reason):
    monkeypatch.setenv("JAX_PLATFORMS", "x")
    monkeypatch.setattr(jax, "devices", _without_devices(error))
    with pytest.raises(SystemExit) as end, one_line_errors():
        cli.jax.devices()
    line = capsys.readouterr().err
    assert end.value.code == 1
    assert line.startswith("error: JAX cannot start with JAX_PLATFORMS='x': ")
    assert reason in line
    assert line.endswith("; unset it.\n")
    assert line.count("\n") == 1


def _python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


def test_a_device_that_is_not_there_ends_before_anything_is_written(tmp_path):
    code = "from gpld.commands.train import main; main(['--preset', 'debug', '--run', 'new'])"
    for name in ("cuda", "nonsense"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": name},
            check=False,
        )
        assert result.returncode == 1, result.stderr
        [line] = result.stderr.splitlines()
        assert line.startswith(f"error: JAX cannot start with JAX_PLATFORMS='{name}': ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["JAX_ENABLE_X64", "JAX_DEFAULT_PRNG_IMPL", "JAX_DEBUG_NANS"])
@pytest.mark.parametrize("command", ["train", "plot"])
def test_a_setting_that_jax_does_not_know_is_one_line(command, name):
    code = f"from gpld.commands.{command} import main; main(['--help'])"
    result = _python(code, **{name: "perhaps"})
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("error: JAX cannot be imported: ")
    assert "perhaps" in line
    assert name.lower() in line.lower()


def test_opengl_that_is_not_there_is_one_line(tmp_path):
    run = tmp_path / "run"
    code = f"from gpld.commands.train import main; main(['--preset', 'small', '--run', '{run}'])"
    result = _python(code, MUJOCO_GL="nonsense")
    assert result.returncode == 2
    assert not run.exists()
    [line] = result.stderr.splitlines()
    assert line.startswith("error: dm_control does not start with MUJOCO_GL='nonsense' (")


def test_a_user_without_a_home_has_no_cache_of_programs():
    code = (
        "from pathlib import Path\n"
        "def nobody(cls): raise RuntimeError('Could not determine home directory.')\n"
        "Path.home = classmethod(nobody)\n"
        "import jax\nfrom gpld.xla.cache import cache_compilations\ncache_compilations()\n"
        "print(jax.config.jax_compilation_cache_dir)"
    )
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")}  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (result.stdout, result.stderr) == ("None\n", "")


def test_record_of_a_run_is_needed_to_go_on(here, capsys):
    record = json.loads(Path("run/run.json").read_text())
    del record["precision"]
    Path("run/run.json").write_text(json.dumps(record))
    code, line = error_of(capsys, train.main, "--resume", "run")
    assert (code, "run.json is damaged: its `precision` is None" in line) == (2, True), line


def test_a_refused_start_leaves_nothing_in_somebody_elses_folder(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        train.main(["--preset", "debug", "--run", str(tmp_path)])
    assert ended.value.code == 2
    assert "holds other files, such as notes.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_beside_the_one_that_is_resumed_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--resume", str(tmp_path / "a"), "--run", str(tmp_path / "b")])
    assert ended.value.code == 2
    assert "`--run` cannot be combined with `--resume`" in capsys.readouterr().err
