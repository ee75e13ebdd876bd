"""Runs without environments, networks or checkpoints, for tests of the loop's parts."""

from gpld.runs.console import RunConsole
from gpld.runs.folder import RunFolder
from gpld.runs.metrics import Stopwatch
from gpld.runs.recorder import Recorder
from gpld.training.seed_run import SeedRun


class QuietConsole(RunConsole):
    """Shows nothing."""

    def __init__(self):
        pass

    def speaker(self, label):
        return lambda text: None

    def updated(self):
        pass

    def episode(self, score, env_step):
        pass

    def progress(self, env_step, update, **_):
        pass


def seed_run(path, config, **parts):
    """A run with a folder, a recorder and those parts of it that a test needs."""
    path.mkdir(exist_ok=True)
    recorder = Recorder(config, RunFolder(path), QuietConsole(), Stopwatch())
    run = object.__new__(SeedRun)
    parts = {"config": config, "folder": RunFolder(path), "recorder": recorder, **parts}
    for name, value in {"label": f"{path.name}: ", **parts}.items():
        object.__setattr__(run, name, value)
    return run
