"""`scripts/benchmark.py` on sizes that take seconds, and the arithmetic of its reports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpld.benchmark import Measurement, Report
from gpld.commands.benchmark import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def test_ratios_are_medians_over_rounds():
    measurements = {
        "matmul_2048": Measurement([1.0, 1.0, 1.0], 0.1, None),
        # The machine slows down by ten in the last round, for both.
        "plain": Measurement([2.0, 2.0, 20.0], 0.1, 100),
        "penalty": Measurement([3.0, 5.0, 30.0], 0.1, 250),
    }
    report = Report("penalty", {}, measurements, "plain")
    assert report.ratio("penalty") == 1.5
    assert report.ratio("plain") == 1.0
    assert report.memory_ratio("penalty") == 2.5
    assert report.memory_ratio("matmul_2048") is None
    lines = report.table().splitlines()
    assert len({len(line) for line in lines[2:]}) == 1
    assert lines[3].split() == ["penalty", "5,000.0", "5.00", "1.500", "0.1", "0.0", "2.50"]


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
    report = json.loads(out.read_text())
    assert report["results"].keys() == names | {"matmul_2048"}
    assert report["results"][report["baseline"]]["ratio"] == 1
    assert report["results"]["matmul_2048"]["units"] == 1
    assert all(len(x["seconds"]) == 2 and min(x["seconds"]) > 0 for x in report["results"].values())
    assert {"versions", "machine", "commit", "settings"} <= report.keys()
    assert all(name in result.stdout for name in names)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["penalty", "--repetitions", "0"], "`repetitions` must be at least 1, got 0"),
        (["penalty", "--cores", "100000"], "`--cores` must be at most"),
        (["penalty", "--gpld.rho", "2"], "`gpld.rho` must be in (0, 1], got 2"),
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
