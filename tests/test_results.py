"""The page of results says what the committed runs give."""

import re
from pathlib import Path

import pytest

from gpld.analysis.packed import SUFFIX, unpacked
from gpld.commands.plot import PlotArgs, score_tables

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results" / "index.md"
FILES = sorted((ROOT / "results").glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(SUFFIX))
def test_tables_are_those_of_the_runs(file):
    page = PAGE.read_text()
    command = re.search(rf"gpld plot results/{re.escape(file.name)}(.*)", page)
    assert command, f"{file.name} has no command on the page"
    source = "checkpoints" if "--source checkpoints" in command[1] else "training"
    with unpacked([file]) as folders:
        _, _, own = score_tables(PlotArgs(runs=tuple(folders), source=source))
    for table in own:
        assert table.markdown().replace("## ", "### ").strip() in page


def test_there_are_results():
    assert FILES
