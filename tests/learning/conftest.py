"""Training as users have it."""

import pickle
import subprocess
import sys
import time

import pytest

from gpld.errors import Interrupted
from gpld.run_folder import RunFolder

_TRAIN = """
import pickle, sys, gpld
from gpld.errors import Interrupted
try:
    gpld.train(*pickle.load(sys.stdin.buffer))
except Interrupted as error:
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="session")
def train(real_programs):
    """Trains in a process of its own: its programs take longer to compile, and run far faster.

    Given a condition of the run folder, training ends soon after it holds, as by a user who
    watches the scores, with a checkpoint. When something is learned depends on the last bit, and so
    on the processor.
    """

    def run(config, path, until=None):
        folder = RunFolder(path)
        process = subprocess.Popen([sys.executable, "-c", _TRAIN], stdin=-1, env=real_programs)
        with process, process.stdin as stdin:
            stdin.write(pickle.dumps((config, path)))
            stdin.close()
            while process.poll() is None:
                if until is not None and until(folder):
                    process.terminate()
                    break
                time.sleep(0.5)
        assert process.returncode == 0 or (until and process.returncode == Interrupted.exit_code)
        return folder

    return run
