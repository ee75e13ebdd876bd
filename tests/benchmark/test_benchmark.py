"""`scripts/benchmark.py` on sizes that take seconds, and the arithmetic of its reports."""

import dataclasses
import inspect
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from gpld import commands
from gpld.analysis.published import Published
from gpld.analysis.published.costs import TABLE4
from gpld.benchmark import adapters, startup
from gpld.benchmark.measure import Case, measure
from gpld.benchmark.plot import plot
from gpld.benchmark.process import train_until
from gpld.benchmark.report import Figure, Measurement, Memory, Report
from gpld.benchmark.train import find_section
from gpld.commands import benchmark as command
from gpld.commands.benchmark import main
from gpld.config import Config
from gpld.config.presets import PRESETS
from gpld.envs.adapters.adapter import Adapter
from gpld.errors import MachineError, UsageError

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.fixture
def report():
    """Two updates over three rounds, in the last of which the machine slowed down by ten."""
    measurements = {
        "matmul_2048": Measurement([1.0, 1.0, 1.0], None, 0.1, Memory(0, 1, 1)),
        "vanilla": Measurement([2.0, 2.0, 20.0], "vanilla", 0.1, Memory(2**20, 1, 1)),
        "rowwise": Measurement([3.0, 5.0, 30.0], "vanilla", 0.1),
        "environments": Measurement([1.0, 2.0, 3.0]),
    }
    return Report(
        "update", {"size": "1m"}, measurements, {"rate": Figure(2, "env steps / s")},
        {"rowwise": Published(1.51, 0.157)},
    )  # fmt: skip


def test_ratios_are_taken_within_rounds(report):
    assert report.ratio("rowwise") == (1.5, 1.5, 2.0)
    assert report.ratio("vanilla") == (1.0, 1.0, 1.0)
    assert report.ratio("environments") is None
    assert report.units("rowwise") == (5.0, 4.0, 17.5)
    lines = report.table().splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    cells = ["rowwise", "5,000.0", "5", "4-17.5", "1.500", "1.5-2", "0.1", "1.51"]
    assert lines[3].split() == cells
    assert lines[6].split() == ["rate", "2", "env", "steps", "/", "s"]


@pytest.mark.parametrize("name", [*get_args(command._Standard), *get_args(command._Others)])
def test_every_benchmark_takes_the_options_that_it_is_passed(name):
    passed = {"repetitions", *command._OPTIONS.get(name, ())}
    function = getattr(import_module(f"gpld.benchmark.{name}"), f"benchmark_{name}")
    parameters = inspect.signature(function).parameters
    assert passed == parameters.keys() - {"config"}
    assert passed <= {field.name for field in dataclasses.fields(command.BenchmarkArgs)}


def test_a_report_is_one_form_of_json(report, tmp_path):
    report.save(tmp_path / "new" / "report.json")
    saved = json.loads((tmp_path / "new" / "report.json").read_text())
    assert {"benchmark", "settings", "versions", "machine", "commit"} <= saved.keys()
    assert saved["choices"]["backend"] == "cpu"
    assert saved["peak_memory"]["host_bytes"] > 2**20
    assert saved["figures"] == {"rate": {"value": 2, "unit": "env steps / s"}}
    rowwise = saved["results"]["rowwise"]
    assert (rowwise["ratio"], rowwise["ratio_quartiles"]) == (1.5, [1.5, 2.0])
    assert rowwise["published_ratio"] == {"mean": 1.51, "std": 0.157}
    assert saved["results"]["environments"]["compile_seconds"] is None


def test_cases_run_in_turn():
    calls = []
    cases = {
        "a": Case(lambda: calls.append("a"), None, calls=2),
        "b": Case(lambda x: x + 1, (1.0,)),
        "c": Case(lambda: calls.append("c"), None, "a"),
    }
    measured = measure(cases, repetitions=2)
    assert calls == ["a", "a", "c"] * 3  # one round is not timed
    assert list(measured) == ["matmul_2048", "a", "b", "c"]
    assert all(len(measurement.seconds) == 2 for measurement in measured.values())
    assert measured["b"].compile_seconds > 0
    assert measured["matmul_2048"].memory.argument_bytes == 4 * 2048**2


def test_rows_of_table_4_are_penalties():
    rows = {row.name: dataclasses.replace(Config().gpld, **row.penalty) for row in TABLE4}
    assert len(rows) == 12
    for row, gpld in zip(TABLE4, rows.values(), strict=True):
        expected = {"gp_post": row.lambda_post, "gp_prior": row.lambda_prior}
        assert gpld.coefficients == {name: x for name, x in expected.items() if x > 0}
        assert gpld.rho == row.rho
    assert "rho 0.5, posterior 0.25, prior 0.25" in rows


def test_lines_of_metrics_become_a_section(tmp_path):
    def line(env_step, updates, seconds, **shares):
        shares = {f"time/share/{name}": share for name, share in shares.items()}
        return json.dumps(
            {"env_step": env_step, "update": updates, "time/seconds": seconds, **shares}
        )

    lines = [
        line(100, 0, 1.0),
        line(200, 5, 99.0, update=1.0),  # compiles
        line(300, 55, 2.0, update=0.5),
        line(400, 105, 6.0, update=0.9, logging=0.1),
        line(500, 155, 5.0, update=0.0),
    ]
    for number in range(len(lines)):
        (tmp_path / "metrics.jsonl").write_text("\n".join(lines[:number]) + "\n" * (number > 0))
        assert (find_section(tmp_path, 60) is None) == (number < 4)
    section = find_section(tmp_path, 60)
    assert section[:3] == (200, 100, 8.0)
    assert section.shares == pytest.approx({"update": 0.8, "logging": 0.075})


def test_environments_alone_and_in_an_adapter_have_the_same_episodes():
    for name, make in adapters.ADAPTED.items():
        alone, adapted = make()
        ends = [[step() for _ in range(1100)] for step in (alone, adapted)]
        assert ends[0] == ends[1]
        assert sum(ends[0]) >= 1, name


def test_an_adapter_adds_what_its_steps_take(monkeypatch):
    class Slow(Adapter):
        def step(self, action):
            time.sleep(0.02)
            return super().step(action)

    monkeypatch.setattr(adapters, "Adapter", Slow)
    monkeypatch.setattr(adapters, "_STEPS", 20)
    report = adapters.benchmark_adapters(Config(), repetitions=1)
    for name in adapters.ADAPTED:
        alone, adapted = (report.measurements[x].seconds[0] for x in (f"{name}, alone", name))
        value, unit = report.figures[f"{name}, added"]
        assert value == pytest.approx(1e6 * (adapted - alone))
        assert value > 15_000  # resets are as fast as ever
        assert unit == "microseconds / step"


def test_starts_have_a_cold_and_a_warm_figure(monkeypatch):
    starts = iter([60.0, 9.0, 7.0, 8.0])
    caches = []

    def start(config, run, cache):
        caches.append(cache)
        return next(starts)

    monkeypatch.setattr(startup, "_start", start)
    report = startup.benchmark_startup(PRESETS["debug"], repetitions=3)
    values = {name: figure.value for name, figure in report.figures.items()}
    assert values == {
        "first update, empty cache": 60.0,
        "first update, filled cache": 8.0,
        "first update, filled cache, slowest": 9.0,
    }
    assert len(set(caches)) == 1


def test_a_run_that_ends_too_early_says_why(tmp_path):
    config = dataclasses.replace(PRESETS["debug"], task="walker_fly", run=str(tmp_path / "run"))
    with pytest.raises(MachineError, match=r"ended too early: .*walker_fly"):
        train_until(config, lambda: None, log=tmp_path / "log")


def test_without_a_name_the_standard_set_is_measured(monkeypatch, tmp_path):
    commands_run = []

    def run(command, **_):
        commands_run.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(commands.benchmark.subprocess, "run", run)
    main(["--preset", "debug", "--repetitions=2", f"--out={tmp_path}"])
    names = [command[4] for command in commands_run]
    assert names == ["update", "penalty", "collect", "train", "startup"]
    assert f"--out={tmp_path}/update.json" in commands_run[0]
    assert {"--repetitions=2", "--preset", "debug"} <= set(commands_run[0])
    assert commands_run[0][-3:] == ["--precisions", "float32", "mixed"]


def test_a_folder_gets_files_named_after_benchmarks(monkeypatch, report, tmp_path):
    monkeypatch.setattr(commands.benchmark, "_report", lambda *_: report)
    main(["update", "--out", str(tmp_path / "machine.1core")])
    main(["penalty", "--out", str(tmp_path / "machine.1core")])
    main(["penalty", "--out", str(tmp_path / "mine.json")])
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))
    assert found == ["machine.1core/penalty.json", "machine.1core/update.json", "mine.json"]


def test_nothing_is_measured_that_cannot_be_written(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(commands.benchmark, "_report", lambda *_: pytest.fail("was measured"))
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["update", "--out", str(tmp_path / "file" / "results.json")])
    assert "file must be a folder, but it is a file" in capsys.readouterr().err


def test_results_are_drawn(report, tmp_path):
    report.save(tmp_path / "update.json")
    picture = tmp_path / "docs" / "picture.png"
    main(["plot", "--results", str(tmp_path), "--out", str(picture)])
    alone = picture.read_bytes()
    assert alone.startswith(b"\x89PNG")
    rows = {row.name: Measurement([3.0], "vanilla") for row in TABLE4}
    measurements = {name: Measurement([2.0], "vanilla") for name in ("matmul_2048", "vanilla")}
    published = {row.name: row.ratio for row in TABLE4}
    table4 = Report("table4", {}, measurements | rows, published=published)
    table4.save(tmp_path / "table4.json")
    main(["plot", "--results", str(tmp_path), "--out", str(picture)])
    assert len(picture.read_bytes()) > len(alone)


@pytest.mark.slow
def test_a_benchmark_writes_what_it_measured(tmp_path):
    names = {f"{e}, {p}" for e in ("rowwise", "joint", "forward") for p in ("literal", "gram")}
    names.add("forward and backward")
    out = tmp_path / "folder" / "results.json"
    result = subprocess.run(
        [sys.executable, SCRIPT, "penalty", "--preset=debug", "--repetitions=2", "--out", out],
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(out.read_text())["results"]
    assert results.keys() == names | {"matmul_2048"}
    assert results["forward and backward"]["ratio"] == 1
    assert results["matmul_2048"]["units"] == 1
    assert all(len(x["seconds"]) == 2 and min(x["seconds"]) > 0 for x in results.values())
    assert all(name in result.stdout for name in names)


@pytest.mark.slow
def test_training_and_its_parts_are_measured(tmp_path):
    flags = ["--preset=debug", "--task=probe_delayed", "--env.action_repeat=1", "--repetitions=1"]
    main(["collect", *flags, f"--out={tmp_path / 'collect.json'}"])
    main(["train", *flags, "--updates=5", f"--out={tmp_path / 'train.json'}"])
    names = ("collect", "train")
    collect, train = (json.loads((tmp_path / f"{name}.json").read_text()) for name in names)
    assert collect["figures"]["environments alone"]["value"] > 0
    assert collect["results"]["policy"]["compile_seconds"] > 0
    figures = {name: figure["value"] for name, figure in train["figures"].items()}
    assert figures["measured updates"] >= 5
    assert figures["measured env steps"] >= 20
    shares = [value for name, value in figures.items() if name.startswith("share of")]
    assert sum(shares) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares)
    assert figures["peak memory of the run"] > 2**20


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["penalty", "--repetitions", "0"], "`repetitions` must be at least 1, got 0"),
        (["penalty", "--cores", "100000"], "`--cores` must be at most"),
        (["penalty", "--gpld.rho", "2"], "`gpld.rho` must be in (0, 1], got 2"),
        (["update", "--precisions", "float31"], "invalid choice 'float31'"),
        (["plot", "--results", "/nowhere"], "`--results` must name a folder with results"),
        (["loop"], "`loop` must be device, got host; `--preset mjx` has it"),
        (
            ["loop", "--seeds-at-once", "0"],
            "`seeds_at_once` must be numbers of at least 1, got (0,)",
        ),
        (["speed"], "invalid choice 'speed'"),
    ],
)
def test_bad_input_is_one_line(capsys, args, message):
    with pytest.raises(SystemExit) as error:
        main(args)
    assert error.value.code == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("update", "table4", "message"),
    [
        ("[1]", None, "update.json must hold a JSON object, but it holds a list"),
        ('{"results"', None, "update.json is damaged: it is not JSON"),
        ("{}", None, "does not hold results of updates (KeyError: 'results')"),
        ('{"results": {"x": 5}}', None, "does not hold results of updates (TypeError: "),
        ('{"results": {}}', "[]", "table4.json must hold a JSON object, but it holds a list"),
    ],
)
def test_results_that_are_none_are_one_line(tmp_path, update, table4, message):
    (tmp_path / "update.json").write_text(update)
    if table4 is not None:
        (tmp_path / "table4.json").write_text(table4)
    with pytest.raises(UsageError) as error:
        plot(tmp_path, tmp_path / "picture.png")
    assert message in str(error.value)
    assert not (tmp_path / "picture.png").exists()
