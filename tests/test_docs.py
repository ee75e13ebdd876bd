"""The documents say what runs: Python blocks as they stand, and commands with known flags."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gpld.cli import parse_config
from gpld.commands.benchmark import BenchmarkArgs
from gpld.commands.completion import ARGUMENTS
from gpld.config import Config, to_dict
from gpld.config.flags import parse, parse_known
from gpld.config.presets import PRESETS
from gpld.envs import own
from gpld.errors import UsageError
from gpld.sweep import plan, read_sweep

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def name_of(document):
    """Path of a document without its ending: several are called `index`."""
    return str(document.relative_to(ROOT).with_suffix(""))


# What a reader puts in place of a word in capitals.
PLACEHOLDERS = {"S": "0", "P": "mixed", "DIR": "there", "PROJECT": "mine", "COMMAND": "doctor"}
# Words of the shell between commands, and before them.
_SHELL = {"srun", "if", "then", "fi", "exit", "$code"}
# What may begin a command that is none of ours.
OTHERS = {"git", "cd", "python3", "source", "pip", "ruff", "pyright", "pytest", ".ci/run"}
OTHERS |= {"#SBATCH", "echo", "scontrol", "tensorboard"}


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    """What a document registers is a task there alone."""
    monkeypatch.setattr(own, "_registered", {})


def benchmark(args):
    """As its `main`: `all` where nothing is named, and flags of both."""
    if not args or args[0].startswith("-"):
        args = ["all", *args]
    _, rest = parse_known(BenchmarkArgs, args)
    parse_config(rest)


def doctor(args):
    assert args == []


PARSERS = {
    name.replace("-", "_"): functools.partial(parse, *classes)
    for name, classes in ARGUMENTS.items()
    if len(classes) == 1
}
PARSERS |= {"train": parse_config, "benchmark": benchmark, "doctor": doctor}


def blocks(text, language):
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def indented(text):
    """Lines of indented blocks, those that are continued joined."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^::: .*(\n .*)*", "", text, flags=re.MULTILINE)  # an object of the API
    lines = re.sub(r" \\\n +", " ", text).split("\n")
    return [line.strip() for line in lines if line.startswith("    ")]


def inline(text):
    """What stands between backticks, over the ends of lines."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def commands(text):
    """Commands of a document, without comments: as words, ours and those of others.

    `python scripts/train.py` is `gpld train`.
    """
    found = []
    quoted = [c for c in inline(text) if c.startswith(("python ", "gpld ", "pytest ", "pip "))]
    for line in (*indented(text), *quoted):
        if line.startswith("#SBATCH"):
            continue
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for between, part in itertools.groupby(words, lambda word: word in ("&&", "||", ";")):
            command = list(itertools.dropwhile(_is_no_program, part))
            if command and not between:
                found.append(as_gpld(command))
    return found


def as_gpld(command):
    script = re.fullmatch(r"scripts/(\w+)\.py", command[1]) if len(command) > 1 else None
    if command[0] != "python" or not script or script[1] == "minimal":
        return command
    return ["gpld", script[1].replace("_", "-"), *command[2:]]


def _is_no_program(word):
    return word in _SHELL or bool(re.match(r"\w+=", word))


@contextlib.contextmanager
def folder_of_a_reader(path):
    """A folder with what a clone has, what a reader wrote, and the runs that are resumed."""
    for name in ("results", "scripts", "sweeps", "benchmarks", "tests"):
        (path / name).symlink_to(ROOT / name)
    pages = (ROOT / "docs/start/own_environment.md", ROOT / "docs/howto/check_env.md")
    code = [blocks(page.read_text(), "python")[0] for page in pages]
    (path / "my_env.py").write_text("\n".join(code))
    for name in ("first", "walker"):
        run = path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps(to_dict(Config())))
    with contextlib.chdir(path):
        yield


def check(command):
    """Parses one command; raises what it would end with."""
    program, *args = command
    if program == "gpld":
        if ">" in args:  # which is the shell's
            args = args[: args.index(">")]
        name, *args = [PLACEHOLDERS.get(arg, arg) for arg in args if arg != "..."]
        parser = PARSERS[name.replace("-", "_")]
        if args and args != ["--help"]:  # a name alone is that of the command
            parser(args)
        files = [a for a in args if a.startswith(("results/", "sweeps/", "benchmarks/"))]
        for name in files:
            assert (ROOT / name).exists(), f"there is no {name}"
    elif program == "python" and args[0].startswith(("scripts/", "website/")):
        assert (ROOT / args[0]).is_file(), f"there is no {args[0]}"
    elif program in ("python", "python3"):
        assert args[0] in ("-m", "-c", "-P"), command
    elif program == "pytest":
        assert all((ROOT / arg).exists() for arg in args if arg.startswith("tests/")), command
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for named in re.findall(r"\[(\w+)\]", " ".join(args)):
            assert named in extras["optional-dependencies"], command
    elif program.startswith("tests/") or program.startswith(".ci"):
        assert (ROOT / program).is_file(), command
    else:
        assert program in {*OTHERS, "["} or "=" in program, f"{command} is no command"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_are_understood(document, tmp_path, monkeypatch):
    # Whether something can be drawn here is no matter of the flags.
    monkeypatch.setattr("gpld.envs.registry.find_backend", lambda: "egl")
    text = document.read_text()
    with folder_of_a_reader(tmp_path):
        for command in commands(text):
            try:
                check(command)
            except (UsageError, SystemExit) as error:
                pytest.fail(f"{document.name}: {' '.join(command)}: {error}")


def known_flags():
    flags = {"--help", "--extra-index-url"}

    def add(cls, prefix):
        for field in dataclasses.fields(cls):
            name = prefix + field.name.rstrip("_")
            flags.update({name, f"{prefix}no_{field.name}"})
            if dataclasses.is_dataclass(field.default):
                flags.add(f"{name}.*")
                add(type(field.default), f"{name}.")

    for cls in itertools.chain.from_iterable(ARGUMENTS.values()):
        add(cls, "--")
    return flags


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_flags_that_are_named_exist(document):
    """Also where they stand alone, and the names of presets beside them."""
    known = known_flags()
    for code in inline(document.read_text()):
        if not code.startswith("--"):
            continue
        flag, *values = code.replace(",", " ").split()
        assert flag.partition("=")[0] in known, f"{document.name}: {code}"
        if flag == "--preset" and values:
            assert values[0] in PRESETS, f"{document.name}: {code}"


def test_what_is_wrong_is_found(tmp_path):
    """Unknown flags, scripts, presets, tasks and files do not pass."""
    wrong = """
        python scripts/train.py --no_such_flag 3
        python scripts/trian.py --task walker_walk
        python scripts/train.py --preset smal
        python scripts/train.py --task walker_wlak
        python scripts/plot.py results/none.json.gz
        python scripts/benchmark.py update --coers 1
        pip install '.[slrum]'
        env.step(action)
    """.replace("        ", "    ")
    found = commands(wrong)
    assert len(found) == 8
    with folder_of_a_reader(tmp_path):
        for command in found:
            with pytest.raises((UsageError, AssertionError, KeyError)):
                check(command)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_sweep_files_are_understood(document, tmp_path):
    for block in blocks(document.read_text(), "toml"):
        (tmp_path / "sweep.toml").write_text(block)
        assert plan(read_sweep(tmp_path / "sweep.toml"), tmp_path / "runs")


def run_python(document, folder, wanted=lambda block: True):
    """Executes blocks of a document in order, in one namespace, as a reader would."""
    namespace = {}
    with contextlib.chdir(folder):
        for block in filter(wanted, blocks(document.read_text(), "python")):
            exec(compile(block, document.name, "exec"), namespace)


SLOW = ("mjx",)
WITH_PYTHON = [path for path in DOCUMENTS if blocks(path.read_text(), "python")]


@pytest.mark.parametrize(
    "document",
    [pytest.param(d, marks=[pytest.mark.slow] if d.stem in SLOW else []) for d in WITH_PYTHON],
    ids=name_of,
)
def test_python_runs_as_it_stands(document, tmp_path):
    """But for what needs a run, which is below."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    run_python(document, tmp_path, lambda block: '"runs/' not in block)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_is_of_a_kind_that_is_tried(document):
    """Commands are indented; `test_commands_are_understood` refuses anything else there."""
    fences = re.findall(r"^```(.*)$", document.read_text(), re.MULTILINE)
    assert {*fences[::2]} <= {"python", "toml", "text"}  # the last are drawings
    assert {*fences[1::2]} <= {""}


def gpld(tmp_path, command):
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{shlex.join(command)}: {result.stderr}"
    return result.stdout


def debug(words):
    """A command that trains, as the preset `debug` and for some env steps."""
    words = list(words)
    if "--preset" in words:
        at = words.index("--preset")
        del words[at : at + 2]
    start = [] if "--resume" in words else ["--preset", "debug", "--task", "cartpole_balance"]
    if "--task" in words:
        start = start[:2]
    if "--env_steps" in words:
        words[words.index("--env_steps") + 1] = "60"
    else:
        words += ["--env_steps", "40"]
    return [*words[:2], *start, *words[2:], "--evaluation.episodes", "1"]


def has_command(text, start):
    """The first command of a text that begins so; there must be one."""
    return next(c for c in commands(text) if shlex.join(c).startswith(start))


@pytest.mark.slow
def test_commands_of_a_first_hour_work(tmp_path):
    """Those that take seconds once the runs are of the preset `debug`, in a reader's order."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    pages = ("start/look_at_a_run", "start/stop_and_resume", "start/install")
    pages += ("howto/compare", "howto/reproduce")
    documents = ("README.md", *(f"docs/{page}.md" for page in pages))
    text = "\n".join((ROOT / name).read_text() for name in documents)
    for start in (
        "--preset small",
        "--resume runs/first",
        "--preset small --task walker_walk --run",
    ):
        gpld(tmp_path, debug(has_command(text, f"gpld train {start}")))
    for start in ("doctor", "sensitivity", "evaluate runs/first", "plot runs/first"):
        gpld(tmp_path, has_command(text, f"gpld {start}"))
    for start in ("sweep sweeps/small.toml", "reproduce table3"):
        command = [word for word in has_command(text, f"gpld {start}") if word != "--dry_run"]
        assert "walker" in gpld(tmp_path, [*command, "--dry_run"])
    for name in ("README.md", "docs/start/look_at_a_run.md"):
        run_python(ROOT / name, tmp_path)
