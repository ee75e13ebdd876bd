"""Starts scripts as a user does."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script, *args, **env):
    """Runs a script in a process of its own, with some environment variables added."""
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *args],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
