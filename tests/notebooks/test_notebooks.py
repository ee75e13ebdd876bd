"""Every notebook runs from top to bottom; their own assertions are part of them."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path, real_programs):
    notebook = nbformat.read(path, as_version=4)
    # Their own modules stand beside them. Compiling takes less time here than running does.
    folders = [str(path.parent), *filter(None, [real_programs.get("PYTHONPATH")])]
    environment = {**real_programs, "PYTHONPATH": os.pathsep.join(folders)}
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute(env=environment)
    pictures = sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert pictures > 0
