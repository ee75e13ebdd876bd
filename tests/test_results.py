"""The page of results says what the committed runs give."""

import re
from pathlib import Path

import numpy as np
import pytest

from gpld.analysis.packed import SUFFIX, unpacked
from gpld.analysis.scores import (
    probability_of_improvement,
    read_runs,
    score_table,
    stratified_bootstrap,
)
from gpld.commands.plot import PlotArgs, score_tables
from gpld.config import flatten
from gpld.runs.folder import RunFolder
from gpld.runs.zoo import open_run, zoo_names
from gpld.sweep.spec import read_sweep

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


def runs_of(name):
    with unpacked([ROOT / "results" / f"{name}{SUFFIX}"]) as folders:
        return read_runs(folders, "checkpoints")


def test_numbers_in_sentences_are_those_of_the_runs():
    """Those that no table above them has."""
    text = " ".join(PAGE.read_text().split())
    pendulum = [run.scores[-1] for run in runs_of("pendulum")]
    assert f"their means are {_and([f'{score:.0f}' for score in pendulum])}." in text
    cartpole = sorted(run.scores[-1] for run in runs_of("cartpole"))
    assert [f"{score:.1f}" for score in cartpole[1:]] == ["500.0"] * 4
    assert f"of all 20 episodes; the other has {cartpole[0]:.0f}." in text
    scores = score_table([run for run in runs_of("small") if run.arm == "GPLD"] + runs_of("joint"))
    theirs, ours = scores.common("GPLD", "joint")
    chance = stratified_bootstrap(probability_of_improvement, ours, theirs)
    estimate, low, high = (f"{100 * float(value):.0f}" for value in chance)
    assert f"Of pairs of runs, {estimate} % have the higher return with `joint`" in text
    assert f"(95 % interval {low} to {high} %;" in text
    for name in zoo_names():
        episodes = read_runs([open_run(f"zoo:{name}").path], "checkpoints")[0].returns[-1]
        named = re.findall(
            rf"(\d+) ± (\d+) in 20 episodes of the last agent \(`zoo:{name}`\)", text
        )
        assert named == [(f"{np.mean(episodes):.0f}", f"{np.std(episodes):.0f}")]
    compared = (ROOT / "docs" / "compare.md").read_text()
    assert f"| trained agents | [{len(zoo_names())}](reference/zoo.md) |" in compared


def _and(words):
    return f"{', '.join(words[:-1])} and {words[-1]}"


def test_there_are_results():
    assert FILES


REPEATED = [
    file
    for file in sorted((ROOT / "sweeps").glob("*.toml"))
    if (ROOT / "results" / f"{file.stem}{SUFFIX}") in FILES
]


@pytest.mark.parametrize("file", REPEATED, ids=lambda file: file.stem)
def test_settings_are_those_of_the_sweep_that_repeats_them(file):
    """In every setting but the folder, whatever has become of the preset."""
    sweep = read_sweep(file)
    with unpacked([ROOT / "results" / f"{file.stem}{SUFFIX}"]) as folders:
        runs = read_runs(folders)
        assert runs
        for run in runs:
            stored = flatten(RunFolder(run.path).config())
            expected = flatten(sweep.config(run.arm, run.task, [run.seed], run.path))
            del stored["run"], expected["run"]
            assert stored == expected
