"""The page of evidence is what the committed runs give, and the README claims no more."""

import re
from pathlib import Path

import numpy as np
import pytest
from measured_models import write_measured

from gpld.analysis.packed import pack, unpacked
from gpld.analysis.scores import read_runs, score_at

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def evidence():
    """The module that makes the page."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("evidence", ROOT / "website" / "evidence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(evidence, monkeypatch, tmp_path):
    monkeypatch.setattr(evidence, "PICTURE", tmp_path / evidence.PICTURE.name)
    return evidence.page()


def test_page_is_that_of_the_runs(made):
    assert made == (ROOT / "docs" / "evidence.md").read_text(), "python website/evidence.py"


def test_first_paragraph_is_four_sentences(made):
    paragraph = made.split("\n\n")[1]
    assert len(re.findall(r"\.(?: [A-Z]|$)", paragraph)) == 4


def test_a_study_is_on_the_page_once_it_is_packed(evidence, monkeypatch, tmp_path):
    write_measured(tmp_path / "study", factor=0.5)
    pack(tmp_path / "study", tmp_path / "prediction_study.json.gz")
    monkeypatch.setattr(evidence, "_file", lambda name: tmp_path / f"{name}.json.gz")
    sentence, tables = evidence.prediction()
    assert sentence.count("better with the penalty") == 4
    assert [table.title.split("? ")[-1] for table in tables[:2]] == [
        "With 2,000 frames to learn from",
        "5,000 frames to learn from",
    ]


def test_every_packed_run_is_on_a_page():
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for file in (ROOT / "results").glob("*.json.gz"):
        assert f"results/{file.name}" in pages


def test_returns_that_the_readme_names():
    """Of the five seeds of its first command: the lowest and the highest."""
    text = " ".join((ROOT / "README.md").read_text().split())
    (steps, low, high), *others = re.findall(
        r"after ([\d,]+) env steps the five are at (\d+) to (\d+)", text
    )
    assert not others
    with unpacked([ROOT / "results" / "small.json.gz"]) as folders:
        runs = [
            run for run in read_runs(folders) if (run.task, run.arm) == ("cartpole_balance", "GPLD")
        ]
        frame = int(steps.replace(",", "")) * runs[0].action_repeat
        returns = np.array([score_at(run, frame=frame) for run in runs])
    assert len(runs) == 5
    assert (round(returns.min()), round(returns.max())) == (int(low), int(high))
