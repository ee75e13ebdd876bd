"""Tables, sentences and pictures of measured world models, from numbers that are known."""

import pytest
from measured_models import write_measured

from gpld.analysis.prediction_report import (
    BASELINE,
    RESULT,
    answer,
    draw_predictions_study,
    prediction_tables,
    read_measured,
)
from gpld.errors import UsageError


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(0.5, "better with the penalty"), (2.0, "worse with the penalty")],
)
def test_the_verdict_is_that_of_the_numbers(tmp_path, factor, verdict):
    sentences = answer(write_measured(tmp_path, factor=factor))
    assert len(sentences) == 4
    for sentence in sentences:
        assert verdict in sentence
        ratio = float(sentence.split("(error ")[1].split(" ")[0])
        assert ratio == pytest.approx(factor, rel=0.03)


def test_without_a_difference_none_is_seen(tmp_path):
    measured = write_measured(tmp_path, factor=0.97, noise=0.3)
    assert all("no difference seen" in sentence for sentence in answer(measured))


def test_with_few_seeds_there_is_no_verdict(tmp_path):
    for sentence in answer(write_measured(tmp_path, factor=0.5, seeds=4)):
        assert "too few seeds to tell (5 at least)" in sentence
        assert sentence.endswith("4 seeds)")


def test_tables_say_ratios_and_rank_correlations(tmp_path):
    small, large, ranks = prediction_tables(write_measured(tmp_path, factor=0.5))
    assert (small.title, large.title) == (
        "2,000 frames to learn from",
        "5,000 frames to learn from",
    )
    baseline, rowwise = large.rows
    assert baseline[0] == f"{BASELINE} (5 seeds)"
    column = list(large.header).index("observation, 15 ahead")
    assert [float(x) for x in baseline[column].split(", ")] == pytest.approx([0.05, 0.3], rel=0.05)
    assert float(rowwise[column].split(" ")[0]) == pytest.approx(0.5, rel=0.03)
    kl = list(large.header).index("KL")
    assert rowwise[kl] == "1.000 [1.000, 1.000]"
    # The sensitivities are in the order of the errors, within an arm and between them.
    assert len(ranks.rows) == 4
    assert all(row[3].startswith("+1.00") and row[4].startswith("-1.00") for row in ranks.rows)
    assert "| task |" in ranks.markdown()


def test_pictures_are_written(tmp_path):
    measured = write_measured(tmp_path / "runs", factor=0.5)
    files = draw_predictions_study(measured, tmp_path)
    names = ["frames.pdf", "frames.png", "horizons.pdf", "horizons.png", "smoothness.pdf",
             "smoothness.png"]  # fmt: skip
    assert sorted(file.name for file in files) == names
    assert all(file.stat().st_size > 5_000 for file in files)


def test_what_is_missing_or_damaged_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"No world model in .* has been measured"):
        read_measured(tmp_path)
    write_measured(tmp_path / "runs", factor=1)
    path = next(tmp_path.rglob(RESULT))
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"prediction\.json is damaged: KeyError\('task'\)"):
        read_measured(tmp_path)
