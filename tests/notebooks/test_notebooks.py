"""Every notebook runs from top to bottom; their own assertions are part of them."""

import base64
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OWN = NOTEBOOKS[0].with_name("your_own_environment.ipynb")
PENALTY = NOTEBOOKS[0].with_name("the_penalty_alone.ipynb")
DREAMS = NOTEBOOKS[0].with_name("from_an_agent_to_its_dreams.ipynb")
# What the cell with the tag `parameters` becomes, where running in full is for readers.
SMALL = {DREAMS: "run, num_episodes = 'zoo:cartpole_swingup', 2"}


def execute(path, folder, environment, parameters=None):
    """Runs the cells in a folder, one of them with other parameters; returns all with outputs."""
    notebook = nbformat.read(path, as_version=4)
    if parameters is not None:
        [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        cell.source = parameters
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute(env=environment)
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(notebook):
    data = [output.get("data", {}) for output in outputs(notebook)]
    return [base64.b64decode(own["image/png"]) for own in data if "image/png" in own]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.exhaustive if path == PENALTY else pytest.mark.slow)
        for path in NOTEBOOKS
        if path != OWN  # which has a test of its own
    ],
    ids=lambda path: path.stem,
)
def test_notebook(path, tmp_path, real_programs):
    # Compiling takes less time than running, unless little is run.
    programs = dict(os.environ) if path in SMALL else real_programs
    notebook = execute(path, tmp_path, programs, SMALL.get(path))
    assert pictures(notebook)


def check_learned(notebook):
    """The mean return of the trained agent is far from the random agent's; 48 is about the best."""
    text = "".join(output.get("text", "") for output in outputs(notebook))
    [returns] = re.findall(r"random agent: (-?[\d.]+), trained agent: (-?[\d.]+)", text)
    random_return, trained_return = map(float, returns)
    assert random_return < 10
    assert trained_return > 35


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_in_full_the_agent_of_ones_own_environment_learns(tmp_path, real_programs):
    check_learned(execute(OWN, tmp_path, real_programs))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_results(path):
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert pictures(notebook)
    assert path.stat().st_size < 400_000
    if path == OWN:
        check_learned(notebook)


def test_the_page_on_the_penalty_shows_the_pictures_of_the_notebook():
    docs = PENALTY.parents[1] / "docs"
    stored = pictures(nbformat.read(PENALTY, as_version=4))
    for name, picture in zip(("limit", "estimators", "fit"), stored, strict=True):
        assert (docs / f"penalty_{name}.png").read_bytes() == picture


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_what_one_will_see_and_ends_with_what_to_try(path):
    first, *_, last = nbformat.read(path, as_version=4).cells
    assert first.source.startswith("# ")
    assert "You will see" in " ".join(first.source.split())
    assert "## What to try" in last.source
