"""Training as users have it."""

import pickle
import subprocess
import sys

import pytest

from gpld.runs.folder import RunFolder

_TRAIN = "import pickle, sys, gpld; gpld.train(*pickle.load(sys.stdin.buffer))"


@pytest.fixture(scope="session")
def train(real_programs):
    """Trains in a process of its own: its programs take longer to compile, and run far faster."""

    def run(config, path):
        subprocess.run(
            [sys.executable, "-c", _TRAIN],
            input=pickle.dumps((config, path)),
            env=real_programs,
            check=True,
        )
        return RunFolder(path)

    return run
