"""Every file of a run, a packed result and a sweep is spoiled at random, and then read.

Whatever was done to a file, a command ends as it would have without, or in one line. It neither
waits nor ends in a traceback, changes nothing outside of its folder, and takes no other numbers
than it should: those of a checkpoint are what was saved, bit for bit, and those of a text that
people may edit are what the text says.
"""

import contextlib
import copy
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tomllib
import warnings
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from matplotlib.figure import Figure

from gpld.checkpoints import tree_file
from gpld.cli import one_line_errors, parse_config
from gpld.commands import evaluate, pack, plot, sweep
from gpld.config import to_dict
from gpld.errors import LeftOut, UsageError
from gpld.evaluation import trained_agent
from gpld.parallel.hosts import find_processes
from gpld.runs.folder import RunFolder
from gpld.training import train

SECONDS = 60  # a command takes one or less, but the machine may be busy
BYTES = 3 * 2**30  # more than any file may have, and than JAX reserves

SWEEP = """preset = "debug"
tasks = ["probe_memory"]
seeds = [0]
evaluation_episodes = 2

[settings]
env_steps = 120
env.action_repeat = 1
env.workers = 0
log.every = 20
log.report_every = 0
log.tensorboard = false
checkpoint.every = 40
evaluation.every = 40

[arms.DreamerV3]
gpld.lambda0 = 0.0
"""
RUN = Path("sweep/DreamerV3/probe_memory/seed0")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A sweep with a finished run, a packed file of it, and files that are nobody's business."""
    root = tmp_path_factory.mktemp("original")
    (root / "grid.toml").write_text(SWEEP)
    with contextlib.chdir(root):
        made = sweep.read_sweep(Path("grid.toml"))
        [job] = sweep.plan(made, Path("sweep"))
        sweep.record(made, Path("sweep"))
        train.train(job.config, job.path)
        evaluate.main([str(RUN), "--episodes", "2", "--out", str(RUN / "evaluation.json")])
        pack.main(["sweep", "packed.json.gz"])
    _outside(root).mkdir()
    (_outside(root) / "precious.txt").write_text("precious\n" * 100)
    return root


def _outside(root):
    return root / "outside"


# What may have happened to a file


_ODD = [
    *(None, True, False, 0, -1, 1, 0.5, 1e300, 10**30, float("inf"), float("nan")),
    *(
        "",
        "x",
        "\0",
        "a\nb",
        "../../outside/precious.txt",
        "$\\frac{$",
        "=1+1",
        "é\ud800",
        300 * "x",
    ),
    *([], [1], [[None]], {}, {"a": 1}),
]
_PLACES = [
    *("missing", "folder", "fifo", "loop", "dangling", "link", "elsewhere", "zero", "file"),
    *("copy", "copy"),
]
_SUFFIXES = [" (copy)", ".bak", ".1", "1", "~", "\n"]
_JUNK = [b"null\n", b"garbage\n", bytes(64), b"\xff\xfe\n", b"[1]\n", b"{}\n", 20_000 * b"[", b"\n"]


def _bytes(draw, data):
    """Other bytes than the file's."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    stop = draw(st.integers(at, min(len(data), at + 200)))
    match draw(st.sampled_from(["flip", "cut", "empty", "drop", "zero", "junk", "end", "other"])):
        case "flip" if data:
            return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "empty":
            return b""
        case "drop":
            return data[:at] + data[stop:]
        case "zero":
            return data[:at] + bytes(stop - at) + data[stop:]
        case "junk":
            return data[:at] + draw(st.sampled_from(_JUNK)) + data[at:]
        case "end":
            return data + draw(st.sampled_from(_JUNK))
    return draw(st.binary(max_size=50))


def _value(draw, value):
    """A JSON value with one of its parts replaced, renamed, doubled or left out."""
    value = copy.deepcopy(value)
    parent, key = None, None
    here = value
    while isinstance(here, dict | list) and here and (parent is None or draw(st.booleans())):
        keys = sorted(here) if isinstance(here, dict) else range(len(here))
        parent, key = here, draw(st.sampled_from(keys))
        here = parent[key]
    if parent is None:
        return draw(st.sampled_from(_ODD))
    match draw(st.sampled_from(["replace", "replace", "drop", "rename", "double"])):
        case "replace":
            parent[key] = draw(st.sampled_from(_ODD))
        case "drop":
            del parent[key]
        case "rename" if isinstance(parent, dict):
            parent[draw(st.sampled_from(["x", "", "../../outside/new", "/tmp/g"]))] = parent.pop(
                key
            )
        case _ if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(here))
    return value


def _json(draw, path, data):
    """Other contents of the same form, where the file has one."""
    if path.suffix == ".json":
        return json.dumps(_value(draw, json.loads(data))).encode("utf-8", "surrogatepass")
    if path.suffix == ".jsonl":
        lines = data.splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = json.dumps(_value(draw, json.loads(lines[at]))).encode("utf-8", "surrogatepass")
        return b"\n".join(lines) + b"\n"
    if path.suffix == ".gz":
        files = json.loads(gzip.decompress(data))
        name = draw(st.sampled_from(sorted(files)))
        if draw(st.booleans()) and name.endswith(".json"):
            files[name] = json.dumps(_value(draw, json.loads(files[name])))
        else:
            files = _value(draw, files)
        return gzip.compress(json.dumps(files).encode("utf-8", "surrogatepass"))
    if path.suffix == ".toml":
        lines = data.splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        name = lines[at].partition(b" = ")[0]
        odd = [
            "1",
            "-1",
            "0.5",
            "true",
            "'x'",
            "''",
            "[]",
            "[1, 'a']",
            "{a = 1}",
            "1979-05-27",
            "nan",
        ]
        lines[at] = name + b" = " + draw(st.sampled_from(odd)).encode()
        return b"\n".join(lines)
    return _bytes(draw, data)


def _spoil(draw, path, root):
    """Does something to a file or folder."""
    is_file = path.is_file()
    data = path.read_bytes() if is_file else b""
    way = draw(
        st.sampled_from(
            ["bytes", "bytes", "form", "form", "form", "place"] if is_file else ["place"]
        )
    )
    if way == "bytes":
        path.write_bytes(_bytes(draw, data))
    elif way == "form":
        path.write_bytes(_json(draw, path, data))
    else:
        outside = _outside(root)
        way = draw(st.sampled_from(_PLACES))
        if way == "copy":
            copy_of = path.with_name(f"{path.name}{draw(st.sampled_from(_SUFFIXES))}")
            shutil.copy(path, copy_of) if is_file else shutil.copytree(path, copy_of)
            return
        path.unlink() if is_file else shutil.rmtree(path)
        match way:
            case "folder":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "loop":
                path.symlink_to(path.name)
            case "dangling":
                path.symlink_to(outside / "new")
            case "link":
                path.symlink_to(outside / "precious.txt")
            case "elsewhere":
                path.symlink_to(outside)
            case "zero":
                path.symlink_to("/dev/zero")
            case "file":
                path.write_bytes(b"file")


# What reads it


def _start(root):
    """Everything that a start does before the first step."""
    config = parse_config(["--resume", str(root / RUN)])
    opened, real = [], train._open
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_open", lambda *args: opened.append(real(*args)) or opened[0])
        train._assemble(config, root / RUN, find_processes(), stack)
        [start] = opened[0].starts
        agent = hashlib.sha256()
        for leaf in jax.tree.leaves(start.agent):
            agent.update(np.asarray(leaf).tobytes())
        replay, ring = start.replay.get_state(), start.replay.ring
        parts = ring.pieces(ring.oldest, ring.num_added)  # elsewhere is what was in memory
        for name, array in sorted(ring.arrays.items()):
            steps = [np.ascontiguousarray(array[:, at]).tobytes() for _, at in parts]
            replay[name] = hashlib.sha256(b"".join(steps)).hexdigest()
        loop = None if start.loop is None else tree_file.dump(start.loop)
        return {
            "env_step": start.manifest["env_step"],
            "agent": agent.hexdigest(),
            "loop": None if loop is None else hashlib.sha256(loop).hexdigest(),
            "replay": json.dumps(replay, default=repr, sort_keys=True),
        }


def _load(root):
    player = trained_agent.load(root / RUN)
    agent = hashlib.sha256()
    for leaf in jax.tree.leaves(player.state):
        agent.update(np.asarray(leaf).tobytes())
    return {"agent": agent.hexdigest()}


def _evaluate(root):
    evaluate.main([str(root / RUN), "--episodes", "2"])


def _plot(root, source="training", what="sweep"):
    out = root / "figures"
    plot.main([str(root / what), "--out", str(out), "--source", source, "--no_published"])
    with (out / "scores.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _plot_evaluation(root):
    return _plot(root, "checkpoints")


def _plot_packed(root):
    return _plot(root, what="packed.json.gz")


def _pack(root):
    pack.main([str(root / "sweep"), str(root / "new.json.gz")])


def _sweep(root):
    sweep.main([str(root / "grid.toml"), "--out", str(root / "sweep"), "--dry_run"])


def _record(root):
    made = sweep.read_sweep(root / "grid.toml")
    if (root / "sweep").is_symlink():
        raise UsageError("The folder that a user names may itself be a link, as that of a run.")
    sweep.record(made, root / "sweep")
    return dataclasses.asdict(made)


@contextlib.contextmanager
def _limited():
    """Ends what hangs, also in the opening of a FIFO, and what takes memory without end."""

    def late(*_):
        raise TimeoutError(f"no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + BYTES, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, before)


def _outcome(action, root):
    """What a command gives: its result, exit code, lines of output and of errors."""
    out, err, result, code = io.StringIO(), io.StringIO(), None, 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        _limited(),
    ):
        warnings.simplefilter("always", LeftOut)
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            with one_line_errors():
                result = action(root)
        except SystemExit as end:
            code = end.code or 0
    return result, code, out.getvalue().splitlines(), err.getvalue().splitlines()


def _tree(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in sorted(folder.rglob("*"))
    }


# What is right


@pytest.fixture(scope="module")
def expected(original, tmp_path_factory):
    """What every command gives where nothing is spoiled; a start from every checkpoint."""
    root = tmp_path_factory.mktemp("case") / "root"
    found = {"root": root}
    for action in ACTIONS:
        shutil.copytree(original, root)
        with _undrawn():
            found[action] = _outcome(action, root)
        assert (found[action][1], found[action][3]) == (0, []), found[action]
        shutil.rmtree(root)
    shutil.copytree(original, root)
    shutil.rmtree(root / RUN / "checkpoints" / "000000120")
    found["starts"] = [found[_start][0], _outcome(_start, root)[0]]
    assert [start["env_step"] for start in found["starts"]] == [120, 80]
    found["loads"] = [found[_load][0], _load(root)]
    shutil.rmtree(root / RUN / "checkpoints" / "000000080")
    found["loads"].append(_load(root))
    found["config"] = to_dict(RunFolder(original / RUN).config())
    return found


@contextlib.contextmanager
def _undrawn():
    """Pictures are not drawn, which would take most of the time."""
    before = Figure.savefig
    Figure.savefig = lambda figure, path, **_: Path(path).write_bytes(b"")
    try:
        yield
    finally:
        Figure.savefig = before


def _said(root, packed=False):
    """Rows of the table of evaluations, as the files say them, read by nothing of the package."""
    names = {name: str(RUN.relative_to("sweep") / name) for name in ("config.json", "scores.jsonl")}
    try:
        if packed:
            files = json.loads(gzip.decompress((root / "packed.json.gz").read_bytes()))
            texts = {name: files[path] for name, path in names.items()}
            arms = json.loads(files.get("arms.json", "{}"))
        else:
            # A line that is no UTF-8 is left out, like any other that is damaged.
            texts = {
                name: (root / "sweep" / path).read_text(errors="surrogateescape")
                for name, path in names.items()
            }
            file = root / "sweep" / "arms.json"
            arms = json.loads(file.read_text()) if file.exists() else {}
        config = json.loads(texts["config.json"].encode(errors="surrogateescape"))
        arms.get("DreamerV3")
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError):
        return None
    rows = {}
    for line in texts["scores.jsonl"].split("\n"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            values = json.loads(line.encode(errors="surrogateescape"))
            scores = np.array(values["scores"], float)
            rows[values["env_step"]] = (
                _in_a_table(arms.get("DreamerV3")) or "DreamerV3",  # after its settings
                _in_a_table(config["task"]),
                config["seed"],
                values["env_step"],
                values["env_step"] * config["env"]["action_repeat"],
                len(scores),
                scores.mean(),
                scores.std(),
            )
    return rows


def _in_a_table(text):
    """Text in one line of UTF-8."""
    return " ".join((text or "").encode(errors="backslashreplace").decode().split())


def _check(action, outcome, expected, root, target):
    """Whether an outcome is the right one, or ends in one line."""
    result, code, out, err = outcome
    usual = expected[action]
    assert code in (0, 1, 2), outcome
    last = [line for line in err if not line.startswith("warning: ")]
    if code:
        assert len(last) == 1, outcome
        assert last[0].startswith("error: "), outcome
        return
    assert not last, outcome
    if action is _start:
        assert result in expected["starts"], (result, out, err)
        config = RunFolder(root / RUN).config()
        if target != RUN / "config.json":
            same = to_dict(config) | {"run": None, "resume": None}
            assert same == expected["config"] | {"run": None, "resume": None}
    elif action is _load:
        assert result in expected["loads"], result
    elif action is _evaluate and target not in (RUN / "config.json", RUN / "run.json"):
        ends = [line for line in out if not line.startswith("/")]
        assert ends == [line for line in usual[2] if not line.startswith("/")] or (
            "checkpoints" in target.parts
        )
    elif action in (_plot, _plot_packed):
        _check_rows(result, _said(root, action is _plot_packed), usual[0], out, err)
    elif action is _plot_evaluation:
        assert result == usual[0] or target.suffix in (".json", ".jsonl", ".gz")
    elif action in (_record, _sweep) and target.name == "grid.toml":
        values = tomllib.loads((root / "grid.toml").read_text())
        made = sweep.read_sweep(root / "grid.toml")
        for name in ("tasks", "seeds", "preset"):
            assert list(getattr(made, name)) == list(values.get(name, getattr(made, name)))
        for arm, own in made.arms.items():
            assert own == _flat(values["arms"][arm])
        assert made.settings == _flat(values.get("settings", {}))
    elif action is _record:
        assert result == usual[0]


def _flat(values):
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= {f"{name}.{own}": leaf for own, leaf in _flat(value).items()}
        else:
            found[name] = value
    return found


def _check_rows(rows, said, usual, out, err):
    """Every row is what a file says, and one that is missing is spoken of."""
    kinds = (str, str, int, int, int, int, float, float)
    assert said is not None or not rows
    for row in rows:
        values = [kind(value) for kind, value in zip(kinds, row.values(), strict=True)]
        other = said[values[3]]
        # A cell of a table must not be a formula, so that some texts are written with a sign.
        assert values[2:6] == list(other[2:6]), (values, other)
        assert values[0].removeprefix("'") == other[0]
        assert values[1].removeprefix("'") == other[1]
        np.testing.assert_allclose(values[6:], other[6:], rtol=1e-12)
    if len(rows) < len(usual):
        spoken = [line for line in (*out, *err) if "left out" in line or "cannot" in line.lower()]
        assert spoken or any("missing" in line.lower() for line in out), (rows, out, err)


ACTIONS = [
    _start,
    _load,
    _evaluate,
    _plot,
    _plot_evaluation,
    _plot_packed,
    _pack,
    _sweep,
    _record,
]


def _readers(target):
    """Commands that have to do with a file."""
    if target.name == "grid.toml":
        return [_sweep, _record]
    if target.name == "packed.json.gz":
        return [_plot_packed]
    if "checkpoints" in target.parts:
        return [_start, _start, _load, _evaluate, _sweep]
    return [action for action in ACTIONS if action is not _plot_packed]


def _fuzz(original, expected, draw):
    targets = [path.relative_to(original) for path in sorted(original.rglob("*"))]
    targets = [path for path in targets if path.parts[0] != "outside"]
    # Half of all cases are of what is read most and written by people.
    texts = [path for path in targets if path.suffix in (".json", ".jsonl", ".toml", ".gz")]
    target = draw(st.sampled_from(texts if draw(st.booleans()) else targets))
    action = draw(st.sampled_from(_readers(target)))
    root = expected["root"]  # always the same: settings name it, and programs depend on them
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(original, root)
    with _undrawn():
        _spoil(draw, root / target, root)
        kept = root if action in (_evaluate, _load, _sweep) else _outside(root)
        before = _tree(kept)
        outcome = _outcome(action, root)
        assert _tree(kept) == before
        assert {path.name for path in root.iterdir()} <= {
            *(path.name for path in original.iterdir()),
            *(path.name + suffix for path in original.iterdir() for suffix in _SUFFIXES),
            *("figures", "new.json.gz"),
        }
        _check(action, outcome, expected, root, target)


_FUZZ = {
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
    "deadline": None,
}


@pytest.mark.exhaustive
@given(st.data())
@settings(max_examples=200, derandomize=True, **_FUZZ)
def test_spoiled_files(original, expected, data):
    _fuzz(original, expected, data.draw)


@pytest.mark.exhaustive
@given(st.data())
@settings(max_examples=2_000, **_FUZZ)
def test_many_spoiled_files(original, expected, data):
    _fuzz(original, expected, data.draw)
