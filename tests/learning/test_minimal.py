"""The script that a researcher copies."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from probe_settings import settings

SCRIPT = Path(__file__).parents[2] / "scripts" / "minimal.py"
_RUN = """
import json, pickle, runpy, sys
config = pickle.load(sys.stdin.buffer)
print(json.dumps(runpy.run_path(sys.argv[1])["train"](config)))
"""


def test_it_fits_on_a_page():
    assert len(SCRIPT.read_text().splitlines()) <= 80


@pytest.mark.slow
def test_the_return_rises(real_programs):
    """A random policy returns less than 2, the best one 8."""
    result = subprocess.run(
        [sys.executable, "-c", _RUN, SCRIPT],
        input=pickle.dumps(settings("probe_termination", 800)),
        capture_output=True,
        env=real_programs,
        check=True,
    )
    _, *lines, last = result.stdout.decode().splitlines()  # the first says what comes
    scores = json.loads(last)
    assert len(lines) == len(scores)
    assert np.mean(scores[:20]) < 3
    assert np.mean(scores[-20:]) > 6
