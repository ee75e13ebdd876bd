"""The page of evidence is what the committed runs give, and the README claims no more."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from measured_models import write_measured

from gpld.analysis.packed import pack, unpack, unpacked
from gpld.analysis.scores import read_runs, score_at
from gpld.errors import UsageError

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
def made(evidence):
    return evidence.page()


def test_page_is_that_of_the_runs(made):
    assert made == (ROOT / "docs" / "evidence.md").read_text(), "python website/evidence.py"


def test_picture_is_that_of_the_runs(evidence, tmp_path):
    """Fonts are drawn a little differently by other versions of FreeType."""
    new, stored = tmp_path / "new.png", tmp_path / "stored.png"
    evidence.draw().savefig(new, dpi=130)
    stored.write_bytes((ROOT / "docs" / "evidence_dreamerv3.png").read_bytes())
    assert compare_images(stored, new, tol=3) is None, "python website/evidence.py"


@pytest.fixture
def spoil(evidence, monkeypatch, tmp_path):
    """Changes a file of the first run in one of the packed files, for this test."""

    def spoil(name, file, change):
        runs = tmp_path / name
        unpack(ROOT / "results" / f"{name}.json.gz", runs)
        path = next(runs.rglob(file))
        path.write_text(change(path.read_text()))
        pack(runs, tmp_path / f"{name}.json.gz")
        packed = evidence._file

        def changed(other):
            return tmp_path / f"{name}.json.gz" if other == name else packed(other)

        monkeypatch.setattr(evidence, "_file", changed)

    return spoil


def number(key, value):
    """Changes the first number of that name."""
    return lambda text: re.sub(rf'("{key}"): [^,\s]+', rf"\1: {value}", text, count=1)


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("dreamerv3", "config.json", number("lambda0", 0.5), r"`gpld\.lambda0` is 0\.5, not 0"),
        ("dreamerv3", "config.json", number("train_ratio", 32), "train_ratio` is 32, not 1024"),
        ("dreamerv3", "scores.jsonl", lambda text: "", "has no evaluation"),
        ("dreamerv3", "scores.jsonl", number("mean", "NaN"), "scores.jsonl"),
        (
            "dreamerv3",
            "scores.jsonl",
            lambda text: text[: text.index("\n") + 1],
            "where a curve has",
        ),
        ("laptop", "config.json", number("lambda0", 0), "is not a run of GPLD"),
        ("laptop", "config.json", number("task", '"walker_run"'), "the tasks are cartpole_balance"),
        ("small", "evaluation.json", lambda text: "", r"evaluation\.json"),
    ],
)
def test_what_the_page_cannot_be_made_of_is_one_line(
    evidence, spoil, monkeypatch, tmp_path, name, file, change, message
):
    monkeypatch.setattr(evidence, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(evidence, "PICTURE", tmp_path / "page.png")
    spoil(name, file, change)
    with pytest.raises(SystemExit, match=message) as ended:
        evidence.main()
    assert str(ended.value).startswith("error: ")
    assert "\n" not in str(ended.value)
    assert not list(tmp_path.glob("page.*"))


def test_powers_are_those_of_as_many_seeds(evidence, monkeypatch):
    monkeypatch.setattr(evidence, "_SHOWN_SEEDS", 10)
    with pytest.raises(
        UsageError, match="cartpole_balance has 5 seeds, and powers are known for 10"
    ):
        evidence.penalty()


def test_first_paragraph_is_four_sentences(made):
    paragraph = made.split("\n\n")[1]
    assert len(re.findall(r"\.(?: [A-Z]|$)", paragraph)) == 4


def test_a_study_is_on_the_page_once_it_is_packed(evidence, monkeypatch, tmp_path):
    write_measured(tmp_path / "study", factor=0.5)
    pack(tmp_path / "study", tmp_path / "prediction_study.json.gz")
    monkeypatch.setattr(evidence, "_file", lambda name: tmp_path / f"{name}.json.gz")
    sentence, tables = evidence.prediction()
    assert sentence.count("better with the penalty") == 4
    assert [table.splitlines()[0].split("? ")[-1] for table in tables[:2]] == [
        "With 2,000 frames to learn from",
        "## 5,000 frames to learn from",
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
