"""The page of evidence is what the committed runs give, and the README claims no more."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from measured_models import write_measured

from gpld.analysis.packed import pack, unpack, unpacked
from gpld.analysis.scores import read_runs
from gpld.config import flatten
from gpld.config.flags import parse_settings
from gpld.errors import UsageError
from gpld.sweep.spec import read_sweep

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
    packed = evidence._file

    def spoil(name, file, change, change_runs=None):
        runs, spoilt = tmp_path / name, tmp_path / f"{name}.json.gz"
        if not runs.exists():
            unpack(packed(name), runs)
        path = next(runs.rglob(file))
        path.write_text(change(path.read_text()))
        if change_runs is not None:
            change_runs(runs)
        pack(runs, spoilt)
        monkeypatch.setattr(
            evidence, "_file", lambda other: spoilt if other == name else packed(other)
        )

    return spoil


def number(key, value):
    """Changes the first number of that name."""
    return lambda text: re.sub(rf'("{key}"): [^,\s]+', rf"\1: {value}", text, count=1)


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        (
            "dreamerv3",
            "config.json",
            number("lambda0", 0.5),
            "gpld.lambda0 is 0.5 there and 0.0 here",
        ),
        (
            "dreamerv3",
            "config.json",
            number("train_ratio", 32),
            "train_ratio is 32 there and 1024 here",
        ),
        ("dreamerv3", "scores.jsonl", lambda text: "", "has no evaluation"),
        ("dreamerv3", "scores.jsonl", number("mean", "NaN"), "scores.jsonl"),
        ("dreamerv3", "scores.jsonl", lambda text: text[: text.index("\n") + 1], "evaluated at a"),
        ("laptop", "config.json", number("lambda0", 0), "gpld.lambda0 is"),
        ("laptop", "config.json", number("train_ratio", 512), "replay.train_ratio is"),
        (
            "laptop",
            "config.json",
            number("task", '"walker_run"'),
            "sweeps/laptop.toml has other tasks",
        ),
        ("laptop", "arms.json", lambda text: text.replace("ratio 64", "ratio 8"), "is of no arm"),
        ("laptop", "config.json", number("seed", 77), "laptop.toml has other tasks or seeds"),
        ("first", "config.json", number("env_steps", 30_000), "first.toml are missing"),
        ("small", "arms.json", lambda text: text.replace(': "GPLD"', ': "joint"'), "is of no arm"),
        ("first", "config.json", number("horizon", 100), "ac.horizon is 100 there and 333.0 here"),
        ("small", "evaluation.json", lambda text: "", "evaluation.json"),
        ("small", "config.json", number("lambda0", 0.25), "gpld.lambda0 is"),
    ],
)
def test_what_the_page_cannot_be_made_of_is_one_line(
    evidence, spoil, monkeypatch, capsys, tmp_path, name, file, change, message
):
    monkeypatch.setattr(evidence, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(evidence, "PICTURE", tmp_path / "page.png")
    spoil(name, file, change)
    with pytest.raises(SystemExit) as ended:
        evidence.main()
    assert ended.value.code in (1, 2)
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not list(tmp_path.glob("page.*"))


def test_powers_are_those_of_as_many_tasks_and_seeds(evidence, monkeypatch):
    monkeypatch.setattr(evidence, "_SHOWN", {(1, 5): 1.8})
    with pytest.raises(UsageError, match="No power is known of 4 tasks with 5 seeds"):
        evidence.penalty()


def test_another_seed_and_no_training_episodes(evidence, spoil):
    """Two runs in one sentence; what is said of training episodes goes with them."""

    def again(runs):
        (run,) = (path.parent for path in runs.rglob("config.json"))
        other = shutil.copytree(run, runs / "again")
        config = other / "config.json"
        config.write_text(number("seed", 1)(config.read_text()))

    spoil("dreamerv3", "episodes.jsonl", lambda text: "", again)
    sentence, (table,) = evidence.identity()
    assert "DreamerV3 2 runs differ in their first frames from" in sentence
    assert "walker_walk, seed 1, 20,000 frames)" in sentence
    assert "training episodes of" not in table
    assert "`walker_walk` seed 1" not in table


def test_training_episodes_are_those_that_ended_last(evidence, spoil):
    lines = '{"env_step": 8000, "frame": 8000, "score": 9}\n'
    lines += '{"env_step": 15000, "frame": 15000, "score": 4}\n' * 2
    spoil("dreamerv3", "episodes.jsonl", lambda text: lines)
    _, (table,) = evidence.identity()
    # Half way between 43.0 at 10,000 and 88.5 at 20,000.
    assert "are 4.0 ± 0.0 (number: 2); a straight line between the published points is" in table
    assert "is at 65.8." in table
    spoil("dreamerv3", "episodes.jsonl", lambda text: lines.splitlines(keepends=True)[0])
    assert "training episodes of" not in evidence.identity()[1][0]


def test_nothing_learned(evidence, monkeypatch):
    monkeypatch.setattr(evidence, "LEARNED", 2)
    sentence, (table,) = evidence.laptop()
    assert "), none reached 200 % of" in sentence
    assert "| yes " not in table


def test_a_run_and_its_export_are_one_row(evidence, spoil):
    rows = evidence.laptop().blocks[0].splitlines()
    (row,) = [row for row in rows if row.startswith("| cartpole_balance |")]
    assert row.startswith(
        "| cartpole_balance | train ratio 32, seed 0 | 992 ± 1 (20) | yes (594) | 298 | 160,000 |"
    )
    # Of another start, they are two runs.
    folder = "train_ratio_32/cartpole_balance/seed0"
    spoil("laptop", f"{folder}/run.json", number("started", '"2020"'))
    rows = evidence.laptop().blocks[0].splitlines()
    assert len([row for row in rows if row.startswith("| cartpole_balance |")]) == 2


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


def test_a_seed_of_the_first_command_that_is_missing_is_said(evidence, spoil):
    def without_one(runs):
        shutil.rmtree(next(runs.rglob("seed9")))

    spoil("first", "config.json", lambda text: text, without_one)
    with pytest.raises(UsageError, match=r"Runs of sweeps/first\.toml are missing"):
        evidence.first_command()


def test_what_the_readme_says_of_its_first_command(evidence):
    """With how many seeds it is learned, and what the lowest and the highest reach."""
    text = " ".join((ROOT / "README.md").read_text().split())
    with unpacked([ROOT / "results" / "first.json.gz"]) as folders:
        last = np.array([run.scores[-1] for run in read_runs(folders, "checkpoints")])
    enough = np.sum(last >= evidence.FIRST_RETURN)
    assert enough >= 9
    assert f"{evidence.FIRST_RETURN} or more with {enough} of ten seeds" in text
    assert f"the lowest of the ten has {last.min():.0f}, the highest {last.max():.0f}" in text


def test_the_sweep_of_the_first_command_is_that_command():
    """In all that changes what is learned; wherever a reader finds it."""
    sweep = read_sweep(ROOT / "sweeps" / "first.toml")
    (task,), (arm,) = sweep.tasks, sweep.arms
    expected = flatten(sweep.config(arm, task, [0], Path("runs/first")))
    for page in ("README.md", "docs/index.md", "docs/start/first_run.md", "gpld/__main__.py"):
        pattern = r"(?:gpld train|train.py) (--preset .*--run runs/first)"
        flags = re.findall(pattern, (ROOT / page).read_text())[0].split()
        own = flatten(parse_settings(flags))
        different = {name for name, value in own.items() if value != expected[name]}
        assert different == {"evaluation.video_every", "evaluation.predictions"}, page
