"""Runs that are stopped and go on, and what they must have in common with those that are not."""

import json
import os
import subprocess
import sys

from run_script import SCRIPTS

from gpld.checkpoints import checkpoint, tree_file
from gpld.runs.folder import RunFolder

TRAIN = SCRIPTS / "train.py"


def start(path, args, **env):
    return subprocess.Popen(
        [sys.executable, TRAIN, "--run", path, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def finish(path, args):
    process = start(path, args)
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return output


def outcomes(path):
    """All that must not depend on how often runs were interrupted, for each seed."""
    return [outcome(RunFolder(run)) for run in sorted(path.glob("seed*")) or [path]]


def outcome(folder):
    lines = {
        name: [
            {key: value for key, value in line.items() if not key.startswith("time/")}
            for line in folder.read(name)
        ]
        for name in ("metrics", "episodes", "scores")
    }
    final = checkpoint.read(folder.latest_checkpoint())
    replay = [(file["first_step"], file["sha256"]) for file in final.manifest["replay"]["files"]]
    loop = json.loads(json.dumps(tree_file.load(final.path / "loop.npz"), default=repr))
    return lines, final.manifest["files"]["agent.eqx"]["sha256"], sorted(replay), loop
